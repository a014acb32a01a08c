"""Frames are H×W×3 uint8, BGR, whatever they came from, and decoded no further than they are looked at."""

from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_face_detection.sources.frame import Frame, Image, Jpeg, UnreadableFrameError, to_bgr
from tests.support.scenes import scene


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 200), (np.uint16, 200 * 256 + 7)])
def test_grey_bgr_and_bgra_of_8_and_16_bits_become_bgr(
    shape: tuple[int, ...], dtype: type[np.generic], value: int
) -> None:
    """The size and the brightness stay, alpha goes."""
    image = to_bgr(np.full(shape, value, dtype))
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    assert (image == 200).all()


def test_alpha_goes_and_colours_stay_in_their_order() -> None:
    assert to_bgr(np.full((1, 1, 4), (10, 20, 30, 40), np.uint8)).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((4, 6, 3), np.float64),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(image: NDArray[np.generic]) -> None:
    """Two channels, floats, no pixels, one and four dimensions."""
    with pytest.raises(ValueError, match="no picture"):
        to_bgr(image)


PICTURE = scene([(160, 120, 80)])
WHOLE = (0, 0, 320, 240)


def _jpeg(picture: Image = PICTURE) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _frame(picture: Image | Jpeg) -> Frame:
    return Frame(picture, 0, datetime.now(UTC), 0.0)


def test_a_jpeg_is_the_picture_it_was_made_of() -> None:
    frame = _frame(Jpeg(_jpeg()))
    assert frame.size == (320, 240)
    assert frame.image.shape == (240, 320, 3)
    assert np.abs(frame.image.astype(int) - PICTURE).mean() < 3


def test_a_jpeg_is_decoded_no_further_than_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter in grey for a quarter in grey; then nothing more for less than that; all for the picture itself."""
    flags: list[int] = []
    imdecode = cv2.imdecode

    def watched(data: NDArray[np.uint8], flag: int) -> object:
        flags.append(flag & ~cv2.IMREAD_IGNORE_ORIENTATION)
        return imdecode(data, flag)

    monkeypatch.setattr(cv2, "imdecode", watched)
    frame = _frame(Jpeg(_jpeg()))
    assert frame.view(WHOLE, (80, 60), grey=True).shape == (60, 80)
    assert frame.glance((16, 12), shrink=4).shape == (12, 16)
    assert frame.view(WHOLE, (40, 30), grey=True).shape == (30, 40)
    assert flags == [cv2.IMREAD_REDUCED_GRAYSCALE_4]
    assert frame.view(WHOLE, (160, 120), grey=False).shape == (120, 160, 3)
    assert frame.image.shape == (240, 320, 3)
    assert frame.view(WHOLE, (320, 240), grey=True).shape == (240, 320)
    assert flags == [cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_COLOR]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(30, 20), (60, 40), (120, 80), (240, 160), (13, 160), (1, 1)])
def test_a_view_shows_its_region_in_its_size_whether_of_a_jpeg_or_not(size: tuple[int, int], *, grey: bool) -> None:
    region = (40, 60, 120, 80)
    plain, jpeg = (_frame(picture).view(region, size, grey=grey) for picture in (PICTURE, Jpeg(_jpeg())))
    assert plain.shape == jpeg.shape == (size[1], size[0], *([] if grey else [3]))
    assert np.abs(plain.astype(int) - jpeg).mean() < 12


def test_a_view_of_one_pixel_is_a_view() -> None:
    for picture in (PICTURE, Jpeg(_jpeg())):
        assert _frame(picture).view((319, 239, 1, 1), (8, 8), grey=True).shape == (8, 8)


def test_a_jpeg_of_a_photograph_that_lies_on_its_side_stays_so() -> None:
    """Its size would be another than its header says."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = _jpeg()
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[2:]
    photograph = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
    assert photograph is not None
    assert photograph.shape == (320, 240, 3)
    assert _frame(Jpeg(turned)).image.shape == (240, 320, 3)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xff\xff", b"no jpeg at all", b"\xff\xd8\xff\xe0\0\0" * 9]
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        Jpeg(data)


def test_a_jpeg_that_claims_to_be_huge_is_refused() -> None:
    data = bytearray(_jpeg(np.zeros((8, 8, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="65535x65535 pixels is too large"):
        Jpeg(bytes(data))


def test_a_jpeg_that_turns_out_to_be_of_another_size_is_unreadable() -> None:
    """TEM, a marker without length: who reads one there comes to a frame header that is none, in a comment."""
    data = _jpeg()
    at = data.index(b"\xff\xc0")
    header = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])]
    other = header[:5] + b"\x07\xd0\x07\xd0" + header[9:]
    comment = b"\xff\xfe" + (2 + len(other)).to_bytes(2) + other
    trick = b"\xff\x01" + (2 + len(header) + 4).to_bytes(2) + header + comment
    jpeg = Jpeg(data[:2] + trick + data[2:at] + data[at + len(header) :])
    assert jpeg.size == (2000, 2000)
    for reduction in (1, 2, 8):
        with pytest.raises(UnreadableFrameError):
            _frame(jpeg).glance((32, 24), shrink=reduction)


def test_a_jpeg_is_cut_off_or_damaged_without_harm() -> None:
    """Wherever it ends, and whatever stands in it: a picture of its size, or one error."""
    data, noise = _jpeg(), np.random.default_rng(2)
    shown = 0
    for turn in range(200):
        damaged = bytearray(data[: int(noise.integers(2, len(data)))] if turn % 2 else data)
        for at in noise.integers(2, len(damaged), 3) if len(damaged) > 2 else []:
            damaged[at] = int(noise.integers(256))
        try:
            frame = _frame(Jpeg(bytes(damaged)))
            shown += frame.image.shape == (frame.size[1], frame.size[0], 3)
        except (ValueError, UnreadableFrameError):
            pass
    assert shown > 50
