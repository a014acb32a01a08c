"""A picture that stands alone is looked through whole: what was before it says little."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_face_detection.faces.detector import Box, Face, Finder, Sighting
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Image
from edge_face_detection.sources.open_source import open_source
from tests.support.scenes import box, frame, make_finder, scene, with_both

SIZE = (640, 480)
SMALL = (500.0, 100.0, 60.0)


@pytest.fixture
def finder(request: pytest.FixtureRequest) -> Finder:
    return make_finder(getattr(request, "param", "haar"))


def _is_at(face: Face, place: tuple[float, float, float]) -> bool:
    (x, y), side = face.box.centre, face.side
    return Box.at(x, y, side, side).iou(box(*place)) >= 0.5


@with_both
@pytest.mark.parametrize("seconds", [0.5, 1.0, 60.0])
def test_a_face_in_one_picture_of_many_is_found_in_it(finder: Finder, seconds: float) -> None:
    """A camera that is asked now and then, time lapse, a busy processor: little changes, much time passes."""
    tracker = Tracker(finder)
    found = [
        tracker.faces(frame(scene([SMALL] if number == 3 else [], size=SIZE, number=number), number, seconds * number))
        for number in range(10)
    ]
    assert [len(faces) for faces in found] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert _is_at(found[3][0], SMALL)


@with_both
@pytest.mark.parametrize("realtime", [True, False])
def test_every_picture_of_a_folder_is_looked_through(finder: Finder, tmp_path: Path, *, realtime: bool) -> None:
    """However soon one comes after the other, and however long the search takes."""
    for number in range(10):
        picture = scene([SMALL] if number == 3 else [], size=SIZE, number=number)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    tracker = Tracker(finder)
    source = open_source(str(tmp_path), realtime=realtime, loop=False)
    assert [len(tracker.faces(each)) for each in source.frames()] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


@with_both
def test_tracks_do_not_reach_from_one_still_to_the_next(finder: Finder, tmp_path: Path) -> None:
    for number in range(4):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), scene([SMALL], size=SIZE, number=number))
    tracker = Tracker(finder)
    tracks = [[face.track for face in tracker.faces(each)] for each in _stills(tmp_path)]
    assert tracks == [[1], [2], [3], [4]]


def _stills(folder: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202 - an iterator of frames
    return open_source(str(folder), realtime=False, loop=False).frames()


@with_both
def test_somebody_who_sits_still_before_a_slow_camera_keeps_the_number(finder: Finder) -> None:
    tracker = Tracker(finder)
    found = [
        tracker.faces(frame(scene([SMALL], size=SIZE, number=number), number, 1.0 * number)) for number in range(4)
    ]
    assert [[face.track for face in faces] for faces in found] == [[1]] * 4


@with_both
@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_the_first_frame_after_a_cut_is_looked_through(finder: Finder, gain: float) -> None:
    """Also where both scenes are dark, so that the grey levels differ by little."""
    tracker = Tracker(finder)
    rng = np.random.default_rng(1)
    walls = [cv2.resize(rng.integers(40, 215, (6, 8, 3), dtype=np.uint8), SIZE) for _ in range(2)]
    place = (200.0, 150.0, 70.0)
    with_face = scene([place], size=SIZE)
    shown = scene([], size=SIZE)
    is_face = np.abs(with_face.astype(int) - shown) > 0
    pictures = [walls[0]] * 5 + [np.where(is_face, with_face, walls[1])]
    found = [
        tracker.faces(frame(np.asarray(picture * gain, np.uint8), number, number / 30))
        for number, picture in enumerate(pictures)
    ]
    assert [len(faces) for faces in found] == [0, 0, 0, 0, 0, 1]
    assert _is_at(found[-1][0], place)


def test_a_gap_that_the_search_itself_makes_leaves_no_frame_alone(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow processor the search of one frame takes longer than that gap: the next ones are followed again."""
    clock = itertools.count(step=1.5)
    monkeypatch.setattr("edge_face_detection.faces.tracker.monotonic", lambda: float(next(clock)))
    looked: list[tuple[int, int]] = []
    whole = finder.whole

    def told(picture: Image, smallest: float, *, is_still: bool) -> list[Sighting]:
        looked.append((picture.shape[0], picture.shape[1]))
        return whole(picture, smallest, is_still=is_still)

    monkeypatch.setattr(finder, "whole", told)
    tracker = Tracker(finder)
    moments = [0.0, 1.55, 1.6, 1.65]
    tracks = [
        [face.track for face in tracker.faces(frame(scene([SMALL], size=SIZE), number, moment))]
        for number, moment in enumerate(moments)
    ]
    assert tracks == [[1]] * len(moments)
    assert looked == [SIZE[::-1]]
