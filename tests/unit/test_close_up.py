"""A face that fills the picture, or is cut by its edge, is found and followed as far as it is visible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from edge_face_detection.faces.detector import Box, Face, Finder
from edge_face_detection.faces.tracker import Tracker
from tests.support.scenes import frame, make_finder, scene, with_both

SIZE = (640, 480)
Place = tuple[float, float, float]


@pytest.fixture
def finder(request: pytest.FixtureRequest) -> Finder:
    return make_finder(getattr(request, "param", "haar"))


def _track(tracker: Tracker, places: Iterable[Sequence[Place]]) -> list[list[Face]]:
    return [
        tracker.faces(frame(scene(faces, size=SIZE, number=number), number, number / 30))
        for number, faces in enumerate(places)
    ]


def _is_at(face: Face, place: Place) -> bool:
    x, y, side = place
    # YuNet's boxes are narrower than the cascade's.
    return face.box.iou(Box.at(x, y, side, side).inside(SIZE)) >= 0.4


@with_both
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.8, 0.9, 1.0])
def test_a_face_of_any_share_of_the_height_is_found_and_followed(finder: Finder, share: float) -> None:
    place = (SIZE[0] / 2, SIZE[1] / 2, share * SIZE[1])
    found = _track(Tracker(finder), [[place]] * 8)
    assert all(len(faces) == 1 and _is_at(faces[0], place) for faces in found)
    assert len({face.track for faces in found for face in faces}) == 1


@with_both
def test_somebody_who_walks_up_to_the_lens_is_followed_all_the_way(finder: Finder) -> None:
    places = [(320.0, 240.0, float(side)) for side in np.geomspace(0.1, 1.0, 90) * SIZE[1]]
    found = _track(Tracker(finder), [[place] for place in places])
    hits = [any(_is_at(face, place) for face in faces) for faces, place in zip(found, places, strict=True)]
    assert sum(hits) >= 0.95 * len(hits)
    assert hits[-1]


@with_both
@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_large_face_that_comes_up_in_a_video_is_found(finder: Finder, share: float) -> None:
    place = (320.0, 240.0, share * SIZE[1])
    found = _track(Tracker(finder), [[]] * 12 + [[place]] * 10)
    assert [_is_at(face, place) for face in found[-1]] == [True]


@with_both
@pytest.mark.parametrize("side", [80.0, 240.0])
def test_a_face_that_moves_out_of_the_frame_is_cut_as_far_as_it_is_visible(finder: Finder, side: float) -> None:
    """Until a seventh of it is outside it is followed, and its box ends at the edge."""
    xs = np.linspace(200, side * 0.35, 60)
    places = [(float(x), 240.0, side) for x in xs]
    found = _track(Tracker(finder), [[place] for place in places])
    hits = [any(_is_at(face, place) for face in faces) for faces, place in zip(found, places, strict=True)]
    assert sum(hits) >= 0.95 * len(hits)
    assert min(face.x for faces in found for face in faces) == 0
