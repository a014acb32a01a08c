"""What is masked is nowhere to be seen, whatever form and size a frame has, and nothing else is touched."""

from collections.abc import Callable
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_face_detection.faces.detector import Face
from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.pictures.crops import crop
from edge_face_detection.pictures.mask import Mask
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import Frame, Image, Jpeg
from face_messages.service.settings import SettingsError
from tests.support.scenes import scene

LEFT_HALF = "0,0 0.5,0 0.5,1 0,1"
GREY = 128


def magenta_on_the_left(size: tuple[int, int] = (320, 240)) -> Image:
    """In its left half a colour that is nowhere else."""
    picture = np.full((size[1], size[0], 3), 40, np.uint8)
    picture[:, : size[0] // 2] = (255, 0, 255)
    return picture


def jpeg(picture: Image) -> Jpeg:
    return Jpeg(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


def masked(picture: Image | Jpeg, text: str = LEFT_HALF) -> Frame:
    frame = Frame(picture, 0, datetime.now(UTC), 0.0)
    frame.hide(Mask(text).paint)
    return frame


both_forms = pytest.mark.parametrize("form", [np.copy, jpeg], ids=["decoded", "JPEG"])


@pytest.mark.parametrize(
    "text",
    [
        "0,0 0.5,0 0.5,1 0,1; 0.8,0 1,0 1,0.3",
        " 0 0 .5 0 .5 1 0 1 ;\n 0.8, 0, 1, 0, 1, 0.3; ",
        "[[[0, 0], [0.5, 0], [0.5, 1], [0, 1]], [[0.8, 0], [1, 0], [1, 0.3]]]",
        "0,0 0.5,0 0.5,1 0,1 0,0; 0.8,0 1,0 1,0.3 0.8,0",
    ],
    ids=["pairs", "otherwise spaced", "JSON", "closed"],
)
def test_polygons_are_written_in_several_ways(text: str) -> None:
    assert Mask(text).polygons == (((0, 0), (0.5, 0), (0.5, 1), (0, 1)), ((0.8, 0), (1, 0), (1, 0.3)))


@pytest.mark.parametrize("text", ["", " ", ";", "[]"])
def test_no_polygons_are_no_mask(text: str) -> None:
    picture = magenta_on_the_left()
    assert (masked(picture.copy(), text).image == picture).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("everything", "pairs of numbers"),
        ("0,0 0.5,0 0.5", "pairs of numbers"),
        ("0,0 1,0 1,1; 0,0 1,zero 1,1", "pairs of numbers"),
        ("[[[0, 0], [1, 0], [1]]]", "pairs of numbers"),
        ("[[0, 0], [1, 0], [1, 1]]", "pairs of numbers"),
        ('[[[0, 0], [1, 0], {"x": 1}]]', "pairs of numbers"),
        ("[[[0, 0], [1, 0], [1, 1]]", "pairs of numbers"),
        ("[1, 2]", "pairs of numbers"),
        ("0,0 320,0 320,240", "polygon 1 leaves the frame.*from 0 to 1"),
        ("0,0 1,0 1,1; 0,0 -0.1,0 1,1", "polygon 2 leaves the frame"),
        ("0,0 nan,0 1,1", "polygon 1 leaves the frame"),
        ("0,0 inf,0 1,1", "polygon 1 leaves the frame"),
        ("0,0 1,1", "polygon 1 encloses nothing"),
        ("0,0 0.5,0.5 1,1", "polygon 1 encloses nothing"),
        ("0.5,0.5 0.5,0.5 0.5,0.5", "polygon 1 encloses nothing"),
        ("0,0 1,1 1,0 0,0.9", "polygon 1 has sides that cross"),
        ("0,0 1,0 1,1 0,0 1,0 1,1", "polygon 1 has sides that cross, or a corner twice"),
        ("[[[0, 0], [1, 0], [1, 1]], []]", "polygon 2 encloses nothing"),
    ],
)
def test_what_would_leave_something_open_is_refused_at_the_start(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the setting's name, and with what would be right."""
    for name, value in {"EDGE_ID": "e", "MQTT_URL": "mqtt://h", "PRIVACY_MASK": text}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^PRIVACY_MASK: .*{complaint}") as caught:
        DetectorSettings.load()
    assert len(caught.value.lines) == 1


fractions = st.floats(0, 1).map(lambda number: round(number, 4))
triangles = st.tuples(*[st.tuples(fractions, fractions)] * 3).filter(
    lambda corners: abs(np.linalg.det([[*corner, 1] for corner in corners])) > 1e-3
)
sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))


@settings(deadline=None)
@given(triangles, sizes, st.booleans())
def test_all_that_is_touched_is_painted_and_nothing_further_off(
    corners: tuple[tuple[float, float], ...], size: tuple[int, int], grey: bool
) -> None:
    """Wherever in the polygon one points, the pixel there is grey; those some pixels away are as they were."""
    width, height = size
    picture = np.zeros((height, width) if grey else (height, width, 3), np.uint8)
    Mask(" ".join(f"{x},{y}" for x, y in corners)).paint(picture)
    weights = np.random.default_rng(1).dirichlet((0.5, 0.5, 0.5), 2000)
    points = weights @ np.array(corners) * size
    columns, rows = np.minimum(points.astype(int), np.array(size) - 1).T
    assert (picture[rows, columns] == GREY).all()
    contour = (np.array(corners) * size).astype(np.float32)
    for row, column in np.argwhere(picture.reshape(height, width, -1)[..., 0] > 0):
        assert cv2.pointPolygonTest(contour, (column + 0.5, row + 0.5), measureDist=True) > -3


def test_where_polygons_overlap_both_are_painted() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    Mask("0,0 0.7,0 0.7,0.7 0,0.7; 0.3,0.3 1,0.3 1,1 0.3,1").paint(picture)
    assert (picture[30:70, 30:70] == GREY).all()


@both_forms
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("shrink", [1, 2, 3.5, 4, 8, 13])
def test_no_view_of_a_frame_shows_what_is_masked(
    form: Callable[[Image], Image | Jpeg], grey: bool, shrink: float
) -> None:
    """However far it is decoded."""
    frame = masked(form(magenta_on_the_left()))
    seen = frame.view((0, 0, 320, 240), (round(320 / shrink), round(240 / shrink)), grey=grey)
    hidden = seen[:, : round(160 / shrink)].astype(int)
    assert np.abs(hidden - GREY).max() <= 1
    assert (frame.view((200, 0, 100, 240), (50, 120), grey=grey) < 60).all()


@both_forms
def test_neither_the_picture_nor_a_glance_shows_what_is_masked(form: Callable[[Image], Image | Jpeg]) -> None:
    frame = masked(form(magenta_on_the_left()))
    assert (frame.glance((32, 24), shrink=8)[:, :16] == GREY).all()
    assert (frame.image[:, :160] == GREY).all()
    # What JPEG lets bleed over the edge of the masked part is gone as well.
    blue, green, red = cv2.split(frame.image[:, 160:].astype(np.int16))
    assert max(np.abs(blue - green).max(), np.abs(red - green).max()) < 20


def test_a_masked_jpeg_is_decoded_no_further_than_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    flags: list[int] = []
    imdecode = cv2.imdecode

    def watched(data: NDArray[np.uint8], flag: int) -> object:
        flags.append(flag & ~cv2.IMREAD_IGNORE_ORIENTATION)
        return imdecode(data, flag)

    monkeypatch.setattr(cv2, "imdecode", watched)
    frame = masked(jpeg(magenta_on_the_left()))
    assert flags == []
    frame.view((0, 0, 320, 240), (80, 60), grey=True)
    frame.view((0, 0, 320, 240), (40, 30), grey=True)
    assert flags == [cv2.IMREAD_REDUCED_GRAYSCALE_4]


def test_a_mask_fits_frames_of_all_sizes() -> None:
    """As they come when a camera's resolution changes."""
    mask = Mask(LEFT_HALF)
    for size in [(640, 480), (320, 240), (1, 1), (2, 7), (1920, 1080), (641, 479)]:
        frame = Frame(magenta_on_the_left(size), 0, datetime.now(UTC), 0.0)
        frame.hide(mask.paint)
        assert (frame.image[:, : size[0] // 2] == GREY).all()
        assert (frame.image[:, size[0] // 2 + 3 :] == 40).all()


def test_a_face_in_the_mask_is_not_found_and_one_beside_it_is() -> None:
    two = scene([(80, 120, 70), (240, 120, 70)])
    (face,) = Tracker(HaarFinder()).faces(masked(two))
    assert face.x > 160


@both_forms
def test_what_is_cut_out_with_a_margin_has_nothing_of_the_mask(form: Callable[[Image], Image | Jpeg]) -> None:
    frame = masked(form(magenta_on_the_left()))
    cut = crop(frame, Face(170, 100, 40, 40, score=1.0), margin=2)
    assert cut.shape == (200, 200, 3)
    assert (cut[:, :70] == GREY).all()
