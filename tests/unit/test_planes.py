"""A JPEG's planes give the pictures that OpenCV's own decoding gives, or nothing."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from edge_face_detection.pictures.mask import Mask
from edge_face_detection.sources import planes
from edge_face_detection.sources.frame import Frame, Image, Jpeg, UnreadableFrameError
from edge_face_detection.sources.planes import decode_planes
from tests.support.scenes import scene

if not planes.IS_THERE and sys.platform == "linux":
    pytest.fail("libturbojpeg is missing: dev/scripts/need.sh libturbojpeg", pytrace=False)
pytestmark = pytest.mark.skipif(not planes.IS_THERE, reason="libturbojpeg is not installed")

SAMPLINGS = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
]
OTHERS = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
# A channel may differ so much: what is interpolated is rounded at other places.
PLAY = 2


def _colourful(width: int, height: int) -> Image:
    """Smooth in brightness and in colour, as cameras' pictures are."""
    down, across = np.mgrid[:height, :width].astype(float)
    channels = [128 + 100 * np.sin(across / 9 + number) * np.cos(down / 11 + number) for number in range(3)]
    return np.dstack(channels).astype(np.uint8)


def _jpeg(picture: Image, sampling: int = SAMPLINGS[1], *more: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, *more]
    return cv2.imencode(".jpg", picture, options)[1].tobytes()


def _frame(data: bytes) -> Frame:
    return Frame(Jpeg(data), 0, datetime.now(UTC), 0.0)


def _decoded(data: bytes, flag: int = cv2.IMREAD_COLOR) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flag), np.uint8)


def _segments(data: bytes) -> list[bytes]:
    """What stands before the scan, each from its marker's second byte on."""
    parts, at = [data[1:2]], 2
    while data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4])
        parts.append(data[at + 1 : at + length])
        at += length
    return parts


def _scan(data: bytes) -> int:
    return 2 + sum(1 + len(part) for part in _segments(data)[1:])


def _most(one: Image, other: Image) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(160, 120), (161, 119), (17, 33), (1, 1), (2, 1), (5, 16)])
def test_every_part_has_the_pixels_that_opencv_decodes(size: tuple[int, int], sampling: int) -> None:
    data = _jpeg(_colourful(*size), sampling)
    found = decode_planes(np.frombuffer(data, np.uint8), size)
    assert found is not None
    assert np.array_equal(found.y, _decoded(data, cv2.IMREAD_GRAYSCALE))
    whole, (width, height) = _decoded(data), size
    for x, y in {(0, 0), (width // 2, height // 3), (width - 1, height - 1)}:
        for across, down in {(1, 1), (width - x, height - y), (min(7, width - x), min(4, height - y))}:
            part = found.colour((x, y, across, down))
            assert _most(part, whole[y : y + down, x : x + across]) <= PLAY


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_cut_out_and_looked_at_is_that_of_a_picture(sampling: int) -> None:
    data = _jpeg(scene([(160, 120, 80)]), sampling)
    plain, frame = Frame(_decoded(data), 0, datetime.now(UTC), 0.0), _frame(data)
    frame.decode()
    region = (101, 61, 91, 87)
    assert _most(frame.cut(region), plain.cut(region)) <= PLAY
    for size in ((91, 87), (64, 64), (15, 20), (200, 190)):
        assert (
            np.abs(frame.view(region, size, grey=False).astype(int) - plain.view(region, size, grey=False)).mean() < 2
        )
        assert np.abs(frame.view(region, size, grey=True).astype(int) - plain.view(region, size, grey=True)).mean() < 8
    assert _most(frame.image, plain.image) == 0


def test_colours_are_not_made_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("all of the frame is decoded in colour"))
    frame = _frame(_jpeg(scene([(160, 120, 80)])))
    frame.decode()
    assert frame.cut((100, 60, 80, 80)).shape == (80, 80, 3)
    assert frame.view((0, 0, 320, 240), (160, 120), grey=True).shape == (120, 160)


@pytest.mark.parametrize("sampling", OTHERS)
def test_pictures_of_another_kind_are_opencvs(sampling: int) -> None:
    grey = cv2.imencode(".jpg", _colourful(64, 48)[:, :, 0])[1].tobytes()
    for data in (_jpeg(_colourful(64, 48), sampling), grey):
        assert decode_planes(np.frombuffer(data, np.uint8), (64, 48)) is None
        assert np.array_equal(_frame(data).cut((3, 5, 40, 30)), _decoded(data)[5:35, 3:43])


def test_progressive_pictures_are_decoded_too() -> None:
    data = _jpeg(_colourful(64, 48), SAMPLINGS[2], cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert _most(_frame(data).cut((3, 5, 40, 30)), _decoded(data)[5:35, 3:43]) <= PLAY


def test_of_what_is_damaged_opencv_has_the_say() -> None:
    """Half of a picture, one with other bytes in its middle, none at all, and one of another size."""
    data = _jpeg(_colourful(320, 240))
    half, spoilt = data[: len(data) // 2], data[:2000] + bytes(300) + data[2300:]
    for other in (half, spoilt, data[:20], b""):
        assert decode_planes(np.frombuffer(other, np.uint8), (320, 240)) is None
    assert decode_planes(np.frombuffer(data, np.uint8), (320, 200)) is None
    assert np.array_equal(_frame(spoilt).cut((0, 0, 320, 240)), _decoded(spoilt))
    for other in (half, data[:700]):
        with pytest.raises(UnreadableFrameError):
            _frame(other).cut((0, 0, 320, 240))


def test_bytes_that_some_cameras_add_do_no_harm() -> None:
    """A picture is not decoded twice for them."""
    data = _jpeg(_colourful(320, 240))
    found = decode_planes(np.frombuffer(data[:-2] + b"\0\1\2" + data[-2:] + bytes(40), np.uint8), (320, 240))
    assert found is not None
    assert np.array_equal(found.y, _decoded(data, cv2.IMREAD_GRAYSCALE))


def test_a_picture_without_its_tables_is_that_of_a_camera() -> None:
    """Cameras may leave out the Huffman tables that the standard gives as examples. Those of another picture are not
    taken for them.
    """
    data = _jpeg(_colourful(320, 240))
    _frame(_jpeg(_colourful(64, 48), SAMPLINGS[1], cv2.IMWRITE_JPEG_OPTIMIZE, 1)).decode()
    bare = b"".join(b"" if part[:1] == b"\xc4" else b"\xff" + part for part in _segments(data)) + data[_scan(data) :]
    assert len(bare) < len(data) - 400
    assert np.array_equal(_frame(bare).cut((0, 0, 320, 240)), _frame(data).cut((0, 0, 320, 240)))


def test_a_mask_hides_what_was_decoded_before_and_what_is_decoded_later() -> None:
    mask, data = Mask("0,0 0.5,0 0.5,1 0,1"), _jpeg(scene([(160, 120, 80)]))
    before, after = _frame(data), _frame(data)
    before.decode()
    before.hide(mask.paint)
    after.hide(mask.paint)
    after.decode()
    for frame in (before, after):
        assert (frame.cut((0, 0, 160, 240)) == 128).all()
        assert (frame.view((0, 0, 160, 240), (80, 120), grey=True) == 128).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_frame_is_turned_whatever_was_decoded_before(degrees: int) -> None:
    data = _jpeg(scene([(160, 120, 80)]))
    before, after = _frame(data), _frame(data)
    before.decode()
    for frame in (before, after):
        frame.turn(degrees)
    assert np.array_equal(before.cut((10, 20, 100, 90)), after.cut((10, 20, 100, 90)))


def test_two_threads_decode_at_the_same_time() -> None:
    """As the detector and the preview do."""
    pictures = [_jpeg(_colourful(640, 480), sampling) for sampling in SAMPLINGS]
    wanted = [_decoded(data, cv2.IMREAD_GRAYSCALE) for data in pictures]
    wrong: list[int] = []

    def work() -> None:
        for number in range(60):
            found = decode_planes(np.frombuffer(pictures[number % 3], np.uint8), (640, 480))
            if found is None or not np.array_equal(found.y, wanted[number % 3]):
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_the_library_opencv_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "_turbo", None)
    data = _jpeg(_colourful(64, 48))
    frame = _frame(data)
    frame.decode()
    assert np.array_equal(frame.cut((3, 5, 40, 30)), _decoded(data)[5:35, 3:43])
