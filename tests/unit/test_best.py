"""The best shot of a track is its sharpest, largest, most frontal one, and comes when its time has come."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_face_detection.faces.detector import Face
from edge_face_detection.pictures.best import BestShots, sharpness
from edge_face_detection.sources.frame import Frame, Image
from tests.support.scenes import frame, scene

FACE = Face(120, 80, 80, 80, 10.0, track=1)
PICTURE = scene([(160, 120, 80)])
ONE = frozenset({1})


def _blurred(picture: Image, sigma: float = 2) -> Image:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _shots(best: BestShots, *frames: tuple[Frame, Face | None]) -> list[int]:
    """The numbers of the frames whose shots come when the track is over."""
    for each, face in frames:
        assert best.next(each, [face] if face else [], ONE) == []
    return [shot.number for shot in best.finish()]


def _best(seconds: float = 60, margin: float = 0.1) -> BestShots:
    return BestShots(seconds=seconds, margin=margin, frontality=lambda _frame, face: face.frontality)


def test_the_sharpest_shot_is_the_best() -> None:
    frames = [frame(_blurred(PICTURE), 0), frame(PICTURE, 1), frame(_blurred(PICTURE, 1), 2)]
    assert _shots(_best(), *((each, FACE) for each in frames)) == [1]


def test_the_largest_shot_is_the_best() -> None:
    sides = (60, 100, 80)
    frames = [frame(scene([(160, 120, side)]), number) for number, side in enumerate(sides)]
    faces = [Face(160 - side // 2, 120 - side // 2, side, side, 10.0, track=1) for side in sides]
    assert _shots(_best(), *zip(frames, faces, strict=True)) == [1]


def test_the_most_frontal_shot_is_the_best() -> None:
    faces = [replace(FACE, frontality=share) for share in (0.2, 0.9, 0.5)]
    assert _shots(_best(), *((frame(PICTURE, number), face) for number, face in enumerate(faces))) == [1]


def test_where_it_may_be_the_best_a_face_is_looked_at_again() -> None:
    """What the first look told of its frontality is not the last word, and costs nothing where it is clear enough."""
    told = {0: 0.6, 1: 0.7, 2: 0.5}
    asked: list[int] = []

    def carefully(shown: Frame, _face: Face) -> float:
        asked.append(shown.number)
        return told[shown.number]

    best = BestShots(seconds=60, margin=0.1, frontality=carefully)
    firsts = (0.9, 0.6, 0.9, 0.3)
    faces = [replace(FACE, frontality=share) for share in firsts]
    assert _shots(best, *((frame(PICTURE, number), face) for number, face in enumerate(faces))) == [1]
    assert asked == [0, 1, 2]


def test_a_face_that_was_only_followed_is_no_best_shot() -> None:
    """The detector did not see it in that frame: it may be half covered."""
    frames = [(frame(PICTURE, 0), replace(FACE, seen=False)), (frame(_blurred(PICTURE), 1), FACE)]
    assert _shots(_best(), *frames) == [1]


def test_the_shot_comes_when_the_track_ends() -> None:
    best = _best()
    assert best.next(frame(PICTURE, 7), [FACE], ONE) == []
    assert best.next(frame(PICTURE, 8), [], ONE) == []
    (shot,) = best.next(frame(PICTURE, 9), [], frozenset())
    assert (shot.number, shot.face, shot.framesize) == (7, FACE, (320, 240))
    assert shot.image.shape == (96, 96, 3)
    assert best.next(frame(PICTURE, 10), [], frozenset()) == []
    assert best.finish() == []


def test_a_track_that_stays_gives_a_shot_every_so_often() -> None:
    best = _best(seconds=10, margin=0)
    shots = [shot.number for number in range(35) for shot in best.next(frame(PICTURE, number, number), [FACE], ONE)]
    assert len(shots) == 3
    assert len(best.finish()) == 1


def test_a_clock_that_was_set_back_does_not_put_the_shot_off() -> None:
    best = _best(seconds=10, margin=0)
    seconds = [100, 101, *range(30)]
    shots = [shot.number for at, now in enumerate(seconds) for shot in best.next(frame(PICTURE, at, now), [FACE], ONE)]
    assert len(shots) == 3


def test_each_track_has_its_own() -> None:
    best = _best()
    other = replace(FACE, track=2)
    best.next(frame(PICTURE, 1), [FACE, other], frozenset({1, 2}))
    assert [shot.face.track for shot in best.next(frame(PICTURE, 2), [FACE], ONE)] == [2]


def test_a_shot_holds_no_more_than_its_cut_out() -> None:
    """A view on the frame would keep all of its pixels in memory."""
    best = _best()
    best.next(frame(PICTURE, 1), [FACE], ONE)
    (shot,) = best.finish()
    assert shot.image.base is None


def test_sharpness_does_not_depend_on_light_and_contrast() -> None:
    dark = np.asarray(PICTURE * 0.4 + 10, np.uint8)
    assert sharpness(frame(dark), FACE) == pytest.approx(sharpness(frame(PICTURE), FACE), rel=0.15)


def test_sharpness_falls_with_blur_and_is_nothing_where_there_is_nothing() -> None:
    marks = [sharpness(frame(_blurred(PICTURE, sigma)), FACE) for sigma in (0.3, 1, 2, 4)]
    assert marks == sorted(marks, reverse=True)
    assert marks[0] > 2.5 * marks[2]
    assert sharpness(frame(np.full_like(PICTURE, 128)), FACE) == 0


def test_a_cameras_noise_is_no_sharpness() -> None:
    noise = np.random.default_rng(1).normal(0, 5, PICTURE.shape)
    sharp, blurred = (
        sharpness(frame(np.clip(picture + noise, 0, 255).astype(np.uint8)), FACE)
        for picture in (PICTURE, _blurred(PICTURE))
    )
    assert sharp > 2 * blurred


def test_a_whole_face_is_better_than_one_that_is_cut_by_the_edge() -> None:
    """Even where the cut one is larger."""
    places = [(30, 120, 80), (160, 120, 70)]
    frames = [frame(scene([place]), number) for number, place in enumerate(places)]
    faces = [Face(0, 80, 70, 80, 10.0, track=1), Face(125, 85, 70, 70, 10.0, track=1)]
    assert _shots(_best(), *zip(frames, faces, strict=True)) == [1]


def test_a_face_that_all_but_touches_the_edge_counts_as_cut() -> None:
    """Boxes are not exact to the pixel."""
    places = [(45, 120, 80), (160, 120, 60)]
    frames = [frame(scene([place]), number) for number, place in enumerate(places)]
    for left, best in [(3, 1), (5, 0)]:
        faces = [Face(left, 80, 80, 80, 10.0, track=1), Face(130, 90, 60, 60, 10.0, track=1)]
        assert _shots(_best(), *zip(frames, faces, strict=True)) == [best]
