"""YuNet's model is brought by the user: checked, and named where it is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_face_detection.faces import yunet
from edge_face_detection.faces.detector import DetectorError, Sighting
from edge_face_detection.faces.track import Window, closer
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.faces.yunet import YuNetFinder, frontality
from tests.support.scenes import SIZE, box, frame, make_finder, scene


def test_without_a_model_it_says_where_to_get_it() -> None:
    with pytest.raises(
        DetectorError, match=r"face_detection_yunet_2023mar\.onnx from https://github\.com/.*YUNET_MODEL"
    ):
        YuNetFinder(None)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"cannot read .*none\.onnx \(No such file or directory\): take "):
        YuNetFinder(tmp_path / "none.onnx")


def test_another_file_is_refused(tmp_path: Path) -> None:
    """Were it loaded, what it finds would be anyone's guess."""
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DetectorError, match=r"is not face_detection_yunet_2023mar\.onnx \(its sha256 is not 8f23"):
        YuNetFinder(path)


def test_a_face_from_the_front_is_frontal_and_one_from_the_side_is_not() -> None:
    """Whatever its size is, and however it is held."""

    def row(*landmarks: tuple[float, float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return np.array([0, 0, 0, 0, *(value for point in landmarks for value in point)], np.float32)

    assert frontality(row((10, 10), (30, 10), (20, 22))) == 1
    assert frontality(row((100, 100), (300, 100), (200, 220))) == 1
    assert frontality(row((10, 10), (10, 30), (-2, 20))) == 1
    assert frontality(row((10, 10), (30, 10), (25, 22))) == 0.5
    assert frontality(row((10, 10), (30, 10), (34, 22))) == 0
    assert frontality(row((10, 10), (10, 10), (10, 10))) == 0


def test_a_look_finds_the_face_where_it_is() -> None:
    (sighting,) = make_finder("yunet").look(scene([(32, 32, 32)], size=(64, 64)), sure=True)
    assert sighting.box.iou(box(32, 32, 32)) > 0.5
    assert 0.75 <= sighting.score <= 1
    assert sighting.frontality > 0.5


def test_with_care_a_face_is_as_frontal_as_its_mirror_image() -> None:
    """To one look the head of a face that looks into the camera is turned a little, always to the same side."""
    shown = frame(scene([(160, 120, 80)]))
    mirror = frame(np.ascontiguousarray(shown.image[:, ::-1]))
    tracker = Tracker(make_finder("yunet"))
    (face,) = tracker.faces(shown)
    aside = replace(face, x=face.x + 8, frontality=0.0)
    mirrored = replace(aside, x=SIZE[0] - aside.x - aside.width)
    told = tracker.frontality(shown, aside)
    assert told > 0.8
    assert told == pytest.approx(tracker.frontality(mirror, mirrored), abs=0.02)
    nowhere = replace(face, x=0, y=0, width=40, height=40, frontality=0.7)
    assert tracker.frontality(shown, nowhere) == 0.7


def test_where_right_and_left_are_off_by_as_much_a_face_is_frontal(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = make_finder("yunet")
    told = iter([0.1, 0.1, 0.3, 0.1])
    monkeypatch.setattr(yunet, "turn", lambda _row: next(told))
    picture = scene([(48, 48, 64)], size=(96, 96))
    assert finder.frontality(picture, box(48, 48, 64)) == pytest.approx(1.0)
    assert finder.frontality(picture, box(48, 48, 64)) == pytest.approx(0.8)


def test_a_face_that_seems_to_have_grown_is_looked_at_from_closer_by() -> None:
    """The network sees a head held at a slant as large as its window, so that its box would grow from look to look."""
    shown, finder, near = frame(scene([(160, 120, 80)])), make_finder("yunet"), box(160, 120, 80)
    window = Window.of(shown, near, finder)
    assert window is not None
    grown, alike = (Sighting(box(160, 120, 80 * times), 0.7, 1.0) for times in (1.4, 1.05))
    _, sighting = closer(shown, finder, window, grown, near, sure=False)
    assert sighting.box.iou(near) > 0.7
    assert closer(shown, finder, window, alike, near, sure=False) == (window, alike)
    far = box(30, 30, 40)  # nothing is there to be seen again
    assert closer(shown, finder, window, grown, far, sure=False) == (window, grown)


def test_a_scan_finds_faces_of_every_size_in_its_octave() -> None:
    finder = make_finder("yunet")
    for side in np.linspace(12, 70, 11):
        found = finder.scan(scene([(80, 60, float(side))], size=(160, 120)), 12, 12)
        assert any(place.iou(box(80, 60, float(side))) > 0.4 for place in found), side


def test_a_scan_finds_small_faces_in_poor_light() -> None:
    """Nearly all of them, wherever they lie on the network's grid."""
    finder, hits = make_finder("yunet"), []
    for side in np.linspace(14, 18, 5):
        for number in range(6):
            place = (80 + number * 0.37, 60 + number * 0.61, float(side))
            dim = np.asarray(scene([place], size=(160, 120), number=number) * 0.5, np.uint8)
            hits.append(any(found.iou(box(*place)) > 0.3 for found in finder.scan(dim, 12, 12)))
    assert sum(hits) >= 0.9 * len(hits)


def test_rows_that_are_no_boxes_are_passed_over() -> None:
    """OpenCV gives such ones for pictures of few pixels, now and then."""
    good = [1, 2, 30, 40, *[5.0] * 10, 0.9]
    rows = np.array([good, good, good, good, good], np.float32)
    rows[1, 2], rows[2, 0], rows[3, 3], rows[4, 14] = np.nan, np.inf, -1, np.nan

    class Network:
        def detect(self, _: object) -> tuple[int, object]:
            return 1, rows

    finder = make_finder("yunet")
    assert isinstance(finder, YuNetFinder)
    finder._networks[32, 32] = Network()  # type: ignore[assignment]  # as much of one as is asked
    picture = np.zeros((19, 19, 3), np.uint8)
    assert [tuple(place) for place in finder.scan(picture, 12, 12)] == [(1, 2, 30, 40)]
    assert len(finder.look(picture, sure=True)) == 1
