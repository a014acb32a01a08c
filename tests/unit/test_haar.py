"""The Haar cascade finds the face, and survives all that is none."""

from pathlib import Path

import cv2
import cv2.data
import numpy as np
import pytest

from edge_face_detection import haar
from edge_face_detection.detector import DetectorError, Face
from edge_face_detection.frames import Image
from edge_face_detection.haar import HaarDetector

# Where the face of the picture is, within a few pixels.
X, Y, SIDE = 175, 66, 98


@pytest.fixture(scope="module")
def astronaut() -> Image:
    picture = cv2.imread(str(Path(__file__).parents[2] / "local_stack" / "astronaut.jpg"))
    assert picture is not None
    return np.asarray(picture, np.uint8)


def _is_at(face: Face, x: float, y: float, side: float, *, tolerance: float) -> bool:
    found = (face.x, face.y, face.width, face.height)
    return all(abs(a - b) <= tolerance for a, b in zip(found, (x, y, side, side), strict=True))


def test_the_face_is_found_where_it_is(astronaut: Image) -> None:
    (face,) = HaarDetector().detect(astronaut)
    assert _is_at(face, X, Y, SIDE, tolerance=5)
    assert face.score > 50


def test_boxes_are_those_of_plain_detection(astronaut: Image) -> None:
    """Asking OpenCV for level weights must not change what is found."""
    picture = np.hstack([astronaut, cv2.flip(astronaut, 1)])
    plain = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    boxes = plain.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=1, minSize=(20, 20))
    detector = HaarDetector(scale_factor=1.1, min_neighbors=1, max_side=2048, min_face_size=20)
    faces = detector.detect(np.asarray(picture, np.uint8))
    assert len(faces) >= 2
    assert sorted((f.x, f.y, f.width, f.height) for f in faces) == sorted(map(tuple, np.asarray(boxes).tolist()))


def test_a_large_picture_is_shrunk_and_its_boxes_scaled_back(astronaut: Image) -> None:
    large = np.asarray(cv2.resize(astronaut, (2048, 2048)), np.uint8)
    (face,) = HaarDetector(max_side=512).detect(large)
    assert _is_at(face, 4 * X, 4 * Y, 4 * SIDE, tolerance=20)


def test_the_smallest_face_is_in_pixels_of_the_picture_as_given(astronaut: Image) -> None:
    """Shrinking to a quarter does not make it four times as large."""
    large = np.asarray(cv2.resize(astronaut, (2048, 2048)), np.uint8)
    assert len(HaarDetector(max_side=512, min_face_size=300).detect(large)) == 1
    assert HaarDetector(max_side=512, min_face_size=480).detect(large) == []


def test_faces_come_surest_first(astronaut: Image) -> None:
    faces = HaarDetector(max_side=2048).detect(np.hstack([astronaut, cv2.GaussianBlur(astronaut, (0, 0), 3)]))
    assert len(faces) == 2
    assert faces[0].score >= faces[1].score


@pytest.mark.parametrize("max_side", [333, 640, 2000])
def test_boxes_stay_inside_of_the_picture(astronaut: Image, max_side: int) -> None:
    """Also where the picture ends at the face, and its sides shrink to no whole number."""
    detector = HaarDetector(max_side=max_side, min_neighbors=1)
    found = 0
    for cut in range(12):
        picture = astronaut[Y + cut : Y + SIDE, X + cut : X + SIDE]
        picture = np.asarray(cv2.resize(picture, (701, 697)), np.uint8)
        for face in detector.detect(picture):
            found += 1
            assert face.x >= 0
            assert face.y >= 0
            assert face.x + face.width <= 701
            assert face.y + face.height <= 697
            assert min(face.width, face.height) > 0
    assert found > 0


def test_grey_and_bgra_pictures_show_the_same_face(astronaut: Image) -> None:
    detector = HaarDetector()
    grey = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY), np.uint8)
    bgra = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_BGR2BGRA), np.uint8)
    faces = detector.detect(astronaut)
    assert detector.detect(grey) == detector.detect(grey[:, :, np.newaxis]) == detector.detect(bgra) == faces


@pytest.mark.parametrize(
    "shape",
    [
        *[(1, 1, 3), (1, 1000, 3), (100000, 1, 3), (19, 19, 3), (39, 640, 3), (40, 20000, 3)],
        *[(480, 640), (480, 640, 1), (480, 640, 4), (2160, 3840, 3), (4320, 7680, 3), (0, 640, 3)],
    ],
)
def test_pictures_without_a_face_give_none(shape: tuple[int, ...]) -> None:
    """All black, of every shape, up to 8K, and smaller than any face."""
    assert HaarDetector().detect(np.zeros(shape, np.uint8)) == []
    assert HaarDetector(min_face_size=1).detect(np.zeros(shape, np.uint8)) == []


def test_a_missing_cascade_names_the_package_to_install() -> None:
    with pytest.raises(DetectorError, match=r"opencv \(Alpine\) or opencv-data \(Debian"):
        HaarDetector(cascade="no_such_cascade.xml")


def test_the_systems_folders_are_searched_where_opencv_has_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = Path(cv2.data.haarcascades, "haarcascade_frontalface_alt2.xml")
    (tmp_path / "here.xml").write_bytes(bundled.read_bytes())
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr(haar, "SYSTEM_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    HaarDetector(cascade="here.xml")


@pytest.mark.parametrize(
    "content", [b"", b"no cascade", b"<?xml version='1.0'?><opencv_storage><a>1</a></opencv_storage>"]
)
def test_a_broken_cascade_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.xml"
    path.write_bytes(content)
    with pytest.raises(DetectorError, match=r"broken\.xml is no cascade"):
        HaarDetector(cascade=str(path))


@pytest.mark.parametrize("scale_factor", [1.0, 0.5, float("nan"), float("inf")])
def test_a_scale_factor_that_cannot_work_is_refused(scale_factor: float) -> None:
    with pytest.raises(ValueError, match="scale_factor"):
        HaarDetector(scale_factor=scale_factor)


def test_counts_and_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="min_neighbors"):
        HaarDetector(min_neighbors=0)
    with pytest.raises(ValueError, match="max_side"):
        HaarDetector(max_side=0)
    with pytest.raises(ValueError, match="min_face_size"):
        HaarDetector(min_face_size=-1)
