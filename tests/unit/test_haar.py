"""The Haar cascade finds the face at a size it is shown at, and names what is missing."""

from pathlib import Path

import cv2
import cv2.data
import numpy as np
import pytest

from edge_face_detection.faces import haar
from edge_face_detection.faces.detector import Box, DetectorError
from edge_face_detection.faces.haar import HaarFinder
from tests.support.scenes import box, scene


def test_a_look_finds_the_face_where_it_is() -> None:
    """Of the size that it expects, and a fifth smaller and a quarter larger."""
    finder = HaarFinder()
    for side in (32, 40, 50):
        grey = np.asarray(scene([(40, 40, side)], size=(80, 80))[:, :, 1].copy())
        (sighting,) = finder.look(grey, sure=True)
        assert sighting.box.iou(box(40, 40, side)) > 0.6
        assert sighting.score > 0


def test_a_scan_finds_faces_of_every_size() -> None:
    """Those of its octave where it is, the larger ones in half the picture."""
    finder = HaarFinder()
    for side in np.linspace(20, 60, 21):
        grey = scene([(80, 60, float(side))], size=(160, 120))[:, :, 1].copy()
        half = np.asarray(cv2.resize(grey, (80, 60)), np.uint8)
        sides = finder.scan_sides[0], finder.scan_sides[-1]
        found = finder.scan(grey, *sides) + [Box(*(2 * value for value in each)) for each in finder.scan(half, *sides)]
        assert any(place.iou(box(80, 60, float(side))) > 0.5 for place in found), side


def test_the_first_stages_of_a_cascade_see_whatever_all_see_and_more() -> None:
    grey = cv2.cvtColor(scene([(60, 60, 40), (220, 130, 90)]), cv2.COLOR_BGR2GRAY)
    name = "haarcascade_frontalface_alt2.xml"
    few, all_of_it = (
        {tuple(map(int, box)) for box in cascade.detectMultiScale(grey, 1.2, 0)}
        for cascade in (haar.load_cascade(name, stages=12), haar.load_cascade(name))
    )
    assert all_of_it
    assert few > all_of_it
    everything = haar.load_cascade(name, stages=99).detectMultiScale(grey, 1.2, 0)
    assert {tuple(map(int, box)) for box in everything} == all_of_it


def test_in_a_video_the_careful_search_finds_what_it_finds_in_a_still() -> None:
    """Far off, near, and dim, though it looks only where a scan saw something."""
    finder = HaarFinder()
    for faces in ([], [(60, 60, 42)], [(60, 60, 50), (220, 130, 120)], [(160, 120, 200)]):
        bright = np.asarray(cv2.cvtColor(scene(faces), cv2.COLOR_BGR2GRAY), np.uint8)
        for grey in (bright, np.asarray(bright // 4, np.uint8)):
            still, moving = (finder.whole(grey, 40, is_still=is_still) for is_still in (True, False))
            assert len(still) == len(moving) == len(faces)
            for one, other in zip(
                *(sorted(found, key=lambda face: face.box) for found in (still, moving)), strict=True
            ):
                assert one.box.iou(other.box) > 0.7


def test_boxes_are_those_of_plain_detection() -> None:
    """Asking OpenCV for level weights must not change what is found."""
    grey = scene([(40, 40, 40)], size=(80, 80))[:, :, 1].copy()
    plain = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    boxes = plain.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=3, minSize=(30, 30), maxSize=(54, 54))
    assert [sighting.box for sighting in HaarFinder().look(grey, sure=True)] == [Box(*map(float, b)) for b in boxes]


def test_with_care_a_turned_face_is_less_frontal() -> None:
    """As if its nose were nearer to the right or to the left."""
    finder = HaarFinder()
    grey = scene([(80, 80, 100)], size=(160, 160))[:, :, 1].copy()
    down, across = (np.asarray(each, np.float32) for each in np.indices(grey.shape))
    off = (across - 80) / 60

    def frontality(turn: float) -> float:
        moved = across + 60 * turn * np.clip(1 - off**2, 0, 1)
        turned = cv2.resize(
            cv2.remap(grey, np.asarray(moved, np.float32), down, cv2.INTER_LINEAR),
            (64, 64),
            interpolation=cv2.INTER_AREA,
        )
        told = finder.frontality(np.asarray(turned, np.uint8), box(32, 32, 40))
        assert told is not None
        return told

    assert 0.95 < frontality(0) <= 1
    assert frontality(0) > max(frontality(-0.5), frontality(0.5)) + 0.01
    assert finder.frontality(np.full((64, 64), 128, np.uint8), box(32, 32, 40)) == pytest.approx(0.9)


def test_a_picture_without_a_face_shows_none() -> None:
    finder = HaarFinder()
    for shape in [(64, 64), (1, 1), (1, 64), (30, 64)]:
        empty = np.full(shape, 128, np.uint8)
        assert finder.look(empty, sure=False) == []
        assert finder.scan(empty, 20, 40) == []


def test_a_new_face_counts_once_a_second_cascade_sees_it_too() -> None:
    """One that knows no faces never does, which does not matter to a face that is known."""
    grey = np.asarray(scene([(40, 40, 40)], size=(80, 80))[:, :, 1].copy())
    doubted = HaarFinder(second="haarcascade_eye.xml")
    assert len(HaarFinder().look(grey, sure=True)) == 1
    assert len(doubted.look(grey, sure=False)) == 1
    assert doubted.look(grey, sure=True) == []


def test_a_missing_cascade_names_the_package_to_install() -> None:
    with pytest.raises(DetectorError, match=r"opencv \(Alpine\) or opencv-data \(Debian"):
        HaarFinder(cascade="no_such_cascade.xml")


def test_the_systems_folders_are_searched_where_opencv_has_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = Path(cv2.data.haarcascades, "haarcascade_frontalface_alt2.xml")
    (tmp_path / "here.xml").write_bytes(bundled.read_bytes())
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr(haar, "SYSTEM_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    HaarFinder(cascade="here.xml", second="here.xml", profile="here.xml")


@pytest.mark.parametrize(
    "content", [b"", b"no cascade", b"<?xml version='1.0'?><opencv_storage><a>1</a></opencv_storage>"]
)
def test_a_broken_cascade_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.xml"
    path.write_bytes(content)
    with pytest.raises(DetectorError, match=r"broken\.xml is no cascade"):
        HaarFinder(cascade=str(path))
