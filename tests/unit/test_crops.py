"""Cutting faces out, and PNGs of them."""

import io
import math

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_face_detection.faces.detector import Face
from edge_face_detection.pictures.crops import crop
from edge_face_detection.pictures.png import encode_png
from edge_face_detection.sources.frame import Image
from tests.support.scenes import frame


def _noise(height: int, width: int) -> Image:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def test_without_margin_the_crop_is_the_box() -> None:
    image = _noise(100, 200)
    cut = crop(frame(image), Face(50, 30, 20, 10, 1.0), margin=0)
    assert np.array_equal(cut, image[30:40, 50:70])


def test_the_margin_is_added_at_each_side_as_a_fraction_of_that_side() -> None:
    image = _noise(100, 200)
    cut = crop(frame(image), Face(50, 30, 20, 10, 1.0), margin=0.5)
    assert np.array_equal(cut, image[25:45, 40:80])


def test_at_the_frames_edge_the_margin_is_cut_off() -> None:
    image = _noise(100, 200)
    assert np.array_equal(crop(frame(image), Face(0, 90, 20, 10, 1.0), margin=1.0), image[80:100, 0:40])


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(0, 59), st.integers(0, 59)),
    st.floats(0, 1.7e308),
)
def test_a_crop_never_leaves_the_frame_and_always_holds_the_face(
    sides: tuple[int, int, int, int], corner: tuple[int, int], margin: float
) -> None:
    """Whatever the margin, also one beyond all reason."""
    height, width, face_width, face_height = sides
    x, y = min(corner[0], width - 1), min(corner[1], height - 1)
    face = Face(x, y, min(face_width, width - x), min(face_height, height - y), 1.0)
    rows, columns = crop(frame(np.zeros((height, width, 3), np.uint8)), face, margin=margin).shape[:2]
    assert face.height <= rows <= height
    assert face.width <= columns <= width


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_a_margin_that_is_no_fraction_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        crop(frame(_noise(10, 10)), Face(0, 0, 5, 5, 1.0), margin=margin)


@pytest.mark.parametrize("face", [Face(10, 0, 5, 5, 1.0), Face(0, -9, 5, 5, 1.0), Face(2, 2, 0, 5, 1.0)])
def test_a_face_outside_of_its_frame_is_refused(face: Face) -> None:
    with pytest.raises(ValueError, match="outside the frame"):
        crop(frame(_noise(10, 10)), face, margin=0)


def test_a_png_holds_the_crop_bit_for_bit() -> None:
    """A crop is a view on its frame; the PNG is of the crop alone."""
    cut = crop(frame(_noise(100, 200)), Face(50, 30, 20, 10, 1.0), margin=0.3)
    png = encode_png(cut)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert np.array_equal(decoded, cut)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (2, 3), (720, 1280)])
def test_every_size_comes_back_from_strict_readers(height: int, width: int) -> None:
    image = _noise(height, width)
    png = encode_png(image)
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert np.array_equal(decoded, image)
    with PIL.Image.open(io.BytesIO(png)) as picture:
        picture.verify()  # all checksums
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (width, height))


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5, 2), (5, 5)])
def test_no_png_is_made_of_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no PNG"):
        encode_png(np.zeros(shape, np.uint8))
