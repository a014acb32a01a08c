"""A new face that the rolling scan saw has to be proved: what is no face often looks like one for a moment."""

from __future__ import annotations

import numpy as np

from edge_face_detection.faces.detector import Sighting
from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Image
from tests.support.scenes import frame, scene


class _Finder(HaarFinder):
    """Tells how sure each look was to be."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[bool] = []

    def look(self, picture: Image, *, sure: bool, wary: bool = False) -> list[Sighting]:
        self.looks.append(sure)
        return super().look(picture, sure=sure, wary=wary)


def test_a_new_face_is_looked_at_with_care_until_it_is_proved() -> None:
    finder = _Finder()
    tracker = Tracker(finder)
    nobody, somebody = scene([]).astype(float), scene([(160, 120, 80)]).astype(float)
    looks = []
    for number in range(130):
        # It comes up so slowly that no place changes much: the scan finds it.
        share = min(1.0, number / 120)
        tracker.faces(frame((nobody + (somebody - nobody) * share).astype(np.uint8), number))
        if finder.looks:
            looks.append(finder.looks)
            finder.looks = []
    # The scan may have seen it before the first look does.
    begin = looks.index([True, True])
    assert looks[begin + 1 : begin + 3] == [[True], [True]]
    assert looks[begin + 3 :]
    assert not any(map(any, looks[begin + 3 :]))
