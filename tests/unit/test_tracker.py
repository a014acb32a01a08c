"""The tracker finds faces that come, follows those that are there, and knows them again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dev.bench.detecting import read
from dev.bench.films import make_film
from dev.bench.truth import judge_frames
from edge_face_detection.faces import tracker as tracker_module
from edge_face_detection.faces.detector import Box, Face, Finder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Image
from tests.support.scenes import SIZE, box, frame, make_finder, scene, with_both

Place = tuple[float, float, float]
"""Middle's x and y, and side of a face, in pixels."""

MIDDLE: Place = (160, 120, 70)
WITHIN_FRAMES = 10


@pytest.fixture
def finder(request: pytest.FixtureRequest) -> Finder:
    return make_finder(getattr(request, "param", "haar"))


def _track(tracker: Tracker, places: Iterable[Sequence[Place]], *, mirrored: bool = False) -> list[list[Face]]:
    return [
        tracker.faces(frame(scene(faces, number=number, mirrored=mirrored), number))
        for number, faces in enumerate(places)
    ]


def _is_at(face: Face, place: Place) -> bool:
    # YuNet's boxes are narrower than the cascade's.
    found = Box(face.x, face.y, face.width, face.height)
    side = found.side
    x, y = found.centre
    return Box(x - side / 2, y - side / 2, side, side).iou(box(*place)) >= 0.5


def _numbers(found: Iterable[Iterable[Face]]) -> set[int]:
    return {face.track for faces in found for face in faces}


@with_both
def test_a_face_of_the_first_frame_is_found_in_it(finder: Finder) -> None:
    (face,) = Tracker(finder).faces(frame(scene([MIDDLE])))
    assert _is_at(face, MIDDLE)
    assert face.seen
    assert face.score > 0


@with_both
@pytest.mark.parametrize("begin", range(1, 10))
def test_a_new_face_is_found_within_ten_frames(finder: Finder, begin: int) -> None:
    """Wherever in its pass the scan stands when it comes, and in one go even for the slowest slice."""
    tracker = Tracker(finder)
    assert not any(_track(tracker, [[]] * begin))
    found = _track(tracker, [[MIDDLE]] * WITHIN_FRAMES)
    assert found[-1]
    assert _is_at(found[-1][0], MIDDLE)


@with_both
@pytest.mark.parametrize("begin", range(1, 11))
def test_a_second_face_is_found_within_ten_frames_while_the_first_is_followed(finder: Finder, begin: int) -> None:
    left, right = (80, 120, 60), (240, 120, 60)
    found = _track(Tracker(finder), [[left]] * begin + [[left, right]] * WITHIN_FRAMES)
    assert all(faces and _is_at(faces[0], left) for faces in found)
    assert [_is_at(face, place) for face, place in zip(found[-1], [left, right], strict=True)] == [True, True]


@with_both
def test_a_face_that_moves_is_followed_in_every_frame(finder: Finder) -> None:
    """By a tenth of its width a frame, with turns."""
    places = [(160 + 80 * np.sin(step / 10), 120 + 20 * np.sin(step / 7), 70.0) for step in range(60)]
    found = _track(Tracker(finder), [[place] for place in places])
    assert all(len(faces) == 1 and _is_at(faces[0], place) for faces, place in zip(found, places, strict=True))
    assert len(_numbers(found)) == 1


@with_both
def test_a_face_that_hurries_is_followed(finder: Finder) -> None:
    """By two fifths of its width a frame in the end: only where it is expected is it still in the window."""
    steps = np.cumsum([0, 4, 8, 12, 16, 20, *[24] * 6])
    places = [(40.0 + step, 120, 60.0) for step in steps]
    found = _track(Tracker(finder), [[place] for place in places])
    assert all(len(faces) == 1 and _is_at(faces[0], place) for faces, place in zip(found, places, strict=True))
    assert len(_numbers(found)) == 1


@with_both
def test_a_face_that_comes_nearer_and_goes_back_is_followed(finder: Finder) -> None:
    """By up to 4 % a frame, from 50 pixels to 110 and back."""
    places = [(160.0, 120.0, 80 + 30 * np.sin(step / 12 - 1.57)) for step in range(75)]
    found = _track(Tracker(finder), [[place] for place in places])
    hits = [len(faces) == 1 and _is_at(faces[0], place) for faces, place in zip(found, places, strict=True)]
    assert sum(hits) >= 0.95 * len(hits)
    assert len(_numbers(found)) == 1


@with_both
def test_a_face_that_leaves_ends_its_track(finder: Finder) -> None:
    """At once it is no longer among the faces; after the patience its track is over."""
    tracker = Tracker(finder, patience=10)
    _track(tracker, [[MIDDLE]] * 5)
    (number,) = tracker.tracks
    gone = _track(tracker, [[]] * 10)
    assert not any(gone)
    assert number in tracker.tracks
    _track(tracker, [[]] * 2)
    assert number not in tracker.tracks


@with_both
def test_a_face_that_was_covered_for_some_frames_keeps_its_number(finder: Finder) -> None:
    found = _track(Tracker(finder), [[MIDDLE]] * 8 + [[]] * 8 + [[MIDDLE]] * WITHIN_FRAMES)
    assert not any(found[8:16])
    assert found[-1]
    assert len(_numbers(found)) == 1


@with_both
def test_a_face_that_comes_back_late_has_a_new_number(finder: Finder) -> None:
    tracker = Tracker(finder, patience=10)
    found = _track(tracker, [[MIDDLE]] * 5 + [[]] * 15 + [[MIDDLE]] * WITHIN_FRAMES)
    assert found[-1]
    assert len(_numbers(found)) == 2


@with_both
def test_a_face_that_comes_up_elsewhere_has_a_new_number(finder: Finder) -> None:
    found = _track(Tracker(finder), [[(60, 70, 50)]] * 5 + [[(250, 170, 50)]] * (WITHIN_FRAMES + 2))
    assert _is_at(found[-1][0], (250, 170, 50))
    assert len(_numbers(found)) == 2


@with_both
def test_two_faces_that_cross_keep_their_numbers(finder: Finder) -> None:
    """One passes before the other, which is covered meanwhile."""
    steps = np.linspace(0, 1, 50)
    lefts = [(60 + 200 * step, 120, 60.0) for step in steps]
    rights = [(260 - 200 * step, 105, 60.0) for step in steps]
    found = _track(Tracker(finder), [[a, b] for a, b in zip(lefts, rights, strict=True)], mirrored=True)
    first = {face.track: _is_at(face, lefts[0]) for face in found[0]}
    assert sorted(first.values()) == [False, True]
    assert len(found[-1]) == 2
    assert {face.track: _is_at(face, lefts[-1]) for face in found[-1]} == first


@with_both
@pytest.mark.parametrize(("rate", "step"), [(10, 25), (5, 50), (3, 60)])
def test_somebody_who_walks_keeps_the_number_with_few_frames_a_second(finder: Finder, rate: int, step: int) -> None:
    """Each frame shows the face half of its side and more from where it was, and the next time it turns back."""
    tracker = Tracker(finder)
    places = [*range(45, 276, step)]
    seen = []
    for number, x in enumerate([places[0], *places, *reversed(places)]):
        faces = tracker.faces(frame(scene([(x, 120, 60.0)], number=number), number, number / rate))
        seen.append([face.track for face in faces])
    assert seen == [seen[0]] * len(seen)
    assert len(seen[0]) == 1


@with_both
def test_somebody_who_walks_keeps_the_number_though_the_processor_is_slow(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a frame takes all the time until the next one: the face goes on meanwhile."""
    monkeypatch.setattr(tracker_module, "monotonic", partial(next, itertools.count(0, 0.2)))
    tracker = Tracker(finder)
    seen = [
        [face.track for face in tracker.faces(frame(scene([(x, 120, 60.0)], number=number), number, number / 5))]
        for number, x in enumerate(range(45, 276, 50))
    ]
    assert seen == [seen[0]] * len(seen)
    assert len(seen[0]) == 1


@with_both
@pytest.mark.parametrize("step", [20, 50])
def test_somebody_who_comes_in_across_the_edge_has_one_number(finder: Finder, step: int) -> None:
    """At ten frames a second, so that much more of the face is seen in each."""
    tracker = Tracker(finder)
    shown = [scene([(650 - number * step, 200, 120)], size=(640, 480)) for number in range(9)]
    found = [tracker.faces(frame(image, number, number / 10)) for number, image in enumerate(shown)]
    assert {face.track for faces in found for face in faces} == {1}


def test_another_face_at_the_edge_of_the_next_still_has_a_number_of_its_own() -> None:
    """Of a face that is cut, little tells who it is."""
    one = scene([(30, 120, 110)])
    other = np.ascontiguousarray(scene([(SIZE[0] - 30, 120, 110)])[:, ::-1])
    tracker = Tracker(make_finder("yunet"))
    found = [tracker.faces(frame(image, number, 0.7 * number)) for number, image in enumerate((one, other))]
    assert [[face.track for face in faces] for faces in found] == [[1], [2]]


@with_both
def test_a_face_that_splits_from_another_gets_a_number_of_its_own(finder: Finder) -> None:
    """Someone stood right behind someone else and steps aside."""
    places = [[(110 + 3 * min(step, 32), 110, 60.0), (110, 120, 64.0)] for step in range(45)]
    found = _track(Tracker(finder), places)
    (first,) = {face.track for face in found[0]}
    assert len(found[-1]) == 2
    assert [_is_at(face, (110, 120, 64)) for face in found[-1] if face.track == first] == [True]


@with_both
def test_a_face_before_something_without_contrast_is_gone(finder: Finder) -> None:
    """A correlation with nothing is undefined, and OpenCV calls it perfect."""
    tracker = Tracker(finder)
    _track(tracker, [[MIDDLE]] * 6)
    covered = scene([MIDDLE])
    covered[60:180, 100:220] = 130
    assert tracker.faces(frame(covered)) == []


@with_both
def test_somebody_who_comes_up_all_at_once_is_found_at_once(finder: Finder) -> None:
    """Whether there was nobody before or somebody else, who keeps the number."""
    tracker, left, right = Tracker(finder), (80, 120, 60), (240, 120, 60)
    found = _track(tracker, [[]] * 14 + [[left]] * 12 + [[left, right]] * 2)
    assert [len(faces) for faces in found] == [0] * 14 + [1] * 12 + [2] * 2
    assert len({faces[0].track for faces in found[14:]}) == 1


def test_faces_are_found_in_a_dim_picture(finder: Finder) -> None:
    """Whose contrast is below what the cascade looks at."""
    for gain in (0.5, 0.12):
        dim = np.asarray(scene([MIDDLE]) * gain + 10, np.uint8)
        (face,) = Tracker(finder).faces(frame(dim))
        assert _is_at(face, MIDDLE)


@with_both
def test_another_scene_is_searched_at_once_and_has_other_tracks(finder: Finder) -> None:
    """Even where its face is in the place of the one before."""
    tracker = Tracker(finder)
    before = _track(tracker, [[MIDDLE]] * 5)
    other = scene([MIDDLE, (60, 120, 50)])
    other[:, 220:] = other[:40] = other[200:] = 255
    other[:, :20] = 0
    found = tracker.faces(frame(other))
    assert [any(_is_at(face, place) for face in found) for place in (MIDDLE, (60, 120, 50))] == [True, True]
    assert not _numbers(before) & _numbers([found])


@with_both
def test_a_stream_that_changes_its_size_goes_on(finder: Finder) -> None:
    """And what is found then is in pixels of the new size."""
    tracker = Tracker(finder)
    for size in [SIZE, (640, 480), (1, 1), SIZE]:
        zoom = size[0] / SIZE[0]
        place = tuple(value * zoom for value in MIDDLE)
        faces = tracker.faces(frame(scene([place], size=size)))  # type: ignore[list-item]  # three values
        assert [_is_at(face, place) for face in faces] == [True] * (size != (1, 1))  # type: ignore[arg-type]


@with_both
@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (100000, 1), (19, 19), (39, 640), (20000, 40), (7680, 4320)])
def test_frames_of_any_size_are_looked_at(finder: Finder, size: tuple[int, int]) -> None:
    """Without a face, from one pixel to 8K; also with the smallest faces sought."""
    empty = np.full((size[1], size[0], 3), 128, np.uint8)
    for min_face_size in (1, 40):
        tracker = Tracker(finder, min_face_size=min_face_size)
        assert [tracker.faces(frame(empty)) for _ in range(4)] == [[]] * 4


def test_a_face_in_a_large_frame_is_found_where_it_is(finder: Finder) -> None:
    place = (2000, 1200, 400)
    (face,) = Tracker(finder).faces(frame(scene([place], size=(3840, 2160))))
    assert _is_at(face, place)


@with_both
def test_people_far_off_in_a_large_frame_are_found_and_their_wall_is_not(finder: Finder, tmp_path: Path) -> None:
    """One is dark and hardly larger than asked for; beside another is a pale patch that a cascade takes for a face."""
    path = tmp_path / "film.avi"
    truth = make_film(path, "several people", size=(1920, 1080), frames=12, smallest=40)
    tracker = Tracker(finder)
    faces = [tracker.faces(frame(image, number)) for number, image in enumerate(read(str(path)))]
    boxes = [[Box(face.x, face.y, face.width, face.height) for face in of_frame] for of_frame in faces]
    score = judge_frames(boxes, truth, smallest=40)
    assert score.wrong == 0
    assert score.delay(1.0) <= WITHIN_FRAMES


def test_smaller_faces_than_asked_for_are_passed_over(finder: Finder) -> None:
    assert Tracker(finder, min_face_size=60).faces(frame(scene([MIDDLE])))
    assert not Tracker(finder, min_face_size=100).faces(frame(scene([MIDDLE])))


def test_boxes_stay_inside_of_the_frame(finder: Finder) -> None:
    """Also of a face that leaves it."""
    found = _track(Tracker(finder), [[(160 + 5 * step, 120, 70)] for step in range(45)])
    faces = [face for each in found for face in each]
    assert len(faces) > 20
    assert all(face.x >= 0 and face.x + face.width <= SIZE[0] and min(face.width, face.height) > 0 for face in faces)


def test_noise_and_nothing_give_no_faces(finder: Finder) -> None:
    noise: Image = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    tracker = Tracker(finder)
    for image in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        assert not any(tracker.faces(frame(image)) for _ in range(10))


@pytest.mark.parametrize("name", ["min_face_size", "max_side", "scan_ticks", "refresh"])
def test_counts_and_sizes_below_one_are_refused(finder: Finder, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        Tracker(finder, **{name: 0})


def test_a_negative_patience_is_refused(finder: Finder) -> None:
    with pytest.raises(ValueError, match="patience"):
        Tracker(finder, patience=-1)
