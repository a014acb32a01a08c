"""Picture files: read whatever they are called, or passed over with a line that says why."""

import logging
import os
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_face_detection.sources import picture_files
from edge_face_detection.sources.frame import Frame, SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.source import Source

GREY_STEP = 4


def _open(path: Path | str, *, realtime: bool = False, loop: bool = False) -> Source:
    return open_source(str(path), realtime=realtime, loop=loop)


def _number_shown(frame: Frame) -> int:
    return round(float(frame.image.mean()) / GREY_STEP)


def _is_picture(frame: Frame) -> bool:
    return frame.image.ndim == 3 and frame.image.shape[2] == 3 and frame.image.dtype == np.uint8


def test_pictures_come_in_natural_order(tmp_path: Path) -> None:
    """2 before 10, whatever the case and the format; other and hidden files are no pictures."""
    for number, name in enumerate(["face1.png", "Face2.JPG", "face10.bmp", "face011.jpeg"]):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), number * GREY_STEP, np.uint8))
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "._face1.png").write_text("none")
    (tmp_path / "folder.png").mkdir()
    source = _open(tmp_path)
    assert [_number_shown(frame) for frame in source.frames()] == [0, 1, 2, 3]
    assert (source.frames_read, source.frames_skipped) == (4, 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 200), (np.uint16, 200 * 257)])
def test_pictures_of_every_kind_become_bgr(tmp_path: Path, channels: int, dtype: type[np.generic], value: int) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, channels), value, dtype))
    (frame,) = _open(tmp_path).frames()
    assert _is_picture(frame)
    assert np.abs(frame.image.astype(int) - 200).max() <= 1


def test_one_picture_is_a_recording_of_one_frame(tmp_path: Path) -> None:
    """Also when its name would be a pattern to FFmpeg."""
    cv2.imwrite(str(tmp_path / "a%d.png"), np.zeros((48, 64, 3), np.uint8))
    assert len(list(_open(tmp_path / "a%d.png").frames())) == 1


def _png_of(width: int, height: int) -> bytes:
    """A small PNG file that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99999))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def test_unreadable_pictures_are_skipped_with_a_warning_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A text, a file cut off, an empty one, and one of 4.8 GB when unpacked."""
    cv2.imwrite(str(tmp_path / "9.png"), np.full((48, 64, 3), 77, np.uint8))
    (tmp_path / "1.png").write_text("no picture")
    (tmp_path / "2.png").write_bytes((tmp_path / "9.png").read_bytes()[:60])
    (tmp_path / "3.jpg").write_bytes(b"")
    (tmp_path / "4.png").write_bytes(_png_of(40000, 40000))
    source = _open(tmp_path)
    (frame,) = source.frames()
    assert frame.number == 4
    assert (source.frames_read, source.frames_skipped) == (5, 4)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    for name, record in zip(["1.png", "2.png", "3.jpg", "4.png"], caplog.records, strict=True):
        assert name in record.getMessage()
        assert "\n" not in record.getMessage()


def test_warnings_of_unreadable_pictures_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((48, 64, 3), np.uint8))
    for number in range(1, 50):
        shutil.copy(__file__, tmp_path / f"{number}.png")
    source = _open(tmp_path)
    assert len(list(source.frames())) == 1
    assert source.frames_skipped == 49
    assert len(caplog.records) == picture_files.UNREADABLE_WARNINGS + 1


def test_a_loop_of_which_nothing_can_be_read_ends(tmp_path: Path) -> None:
    """It looks like a picture when it is opened; no loop may spin over it for ever."""
    (tmp_path / "1.png").write_bytes(_png_of(40000, 40000))
    assert list(_open(tmp_path, loop=True).frames()) == []


@pytest.mark.alone
def test_pictures_in_real_time_come_at_thirty_a_second(tmp_path: Path) -> None:
    for number in range(16):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    frames = list(_open(tmp_path, realtime=True).frames())
    assert 0.4 <= frames[-1].captured_monotonic - frames[0].captured_monotonic < 1.5


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("none")
    with pytest.raises(SourceError, match=r"no pictures in .*png, jpg, jpeg and bmp"):
        _open(tmp_path)
    (tmp_path / "a.png").write_text("none")
    with pytest.raises(SourceError, match="no pictures in"):
        _open(tmp_path)


def _picture(shade: int = 77, size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG file's content."""
    return cv2.imencode(".png", np.full((size[1], size[0], 3), shade, np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.png", b"a\nb.png", b"l" * 250 + b".png", "\u202eü.PNG".encode(), b"%d.png"]
)
def test_a_file_is_read_whatever_its_name(tmp_path: Path, name: bytes) -> None:
    """In a folder, and by itself."""
    path = os.fsdecode(bytes(tmp_path) + b"/" + name)
    Path(path).write_bytes(_picture())
    for source in (_open(tmp_path), _open(path)):
        assert source.description.isprintable()
        assert [int(frame.image.mean()) for frame in source.frames()] == [77]


def test_a_name_that_is_no_utf_8_is_told_in_one_printable_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(_picture())
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff\n.png")).write_bytes(b"none")
    assert len(list(_open(tmp_path).frames())) == 1
    (line,) = caplog.messages
    assert line.isprintable()
    assert r"\xff\n.png is passed over: it is no picture" in line


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff", "gif", "avif"])
def test_each_common_format_is_read_or_said_and_a_broken_one_is_told(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Which formats an OpenCV reads is its own affair."""
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    whole = tmp_path / f"1.{suffix}"
    assert cv2.imwrite(str(whole), picture)
    (tmp_path / f"2.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = _open(tmp_path)
    assert [frame.size for frame in source.frames()] == [(64, 48)]
    assert source.frames_unreadable == 1
    (line,) = caplog.messages
    assert f"2.{suffix} is passed over: it is broken, or a {picture_files.picture_kind(whole)} " in line
    assert "convert it" in line


def test_what_no_opencv_reads_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(_picture())
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    assert len(list(_open(tmp_path).frames())) == 1
    assert "a HEIF that this OpenCV cannot decode" in caplog.text


def test_what_is_no_file_is_passed_over_with_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(_picture())
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "away.png").symlink_to("nowhere.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    source = _open(tmp_path)
    assert len(list(source.frames())) == source.frames_read == 1
    assert len(caplog.messages) == 4
    for name, said in {
        "loop": "Too many levels", "away": "No such file", "folder": "it is a folder", "pipe": "a pipe",
    }.items():  # fmt: skip
        assert any(f"{name}.png is passed over: " in line and said in line for line in caplog.messages)


def test_what_has_no_picture_s_name_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a.png").write_bytes(_picture())
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("none")
    assert len(list(_open(tmp_path).frames())) == 1
    (line,) = caplog.messages
    assert "20 entries" in line
    assert ".txt" in line


def test_a_file_that_goes_or_becomes_a_pipe_after_the_listing_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(_picture())
    source = _open(tmp_path)
    (tmp_path / "b.png").unlink()
    (tmp_path / "c.png").unlink()
    os.mkfifo(tmp_path / "c.png")
    assert [frame.number for frame in source.frames()] == [0, 3]
    assert "b.png is passed over: No such file" in caplog.messages[0]
    assert "c.png is passed over: it is no file any more" in caplog.messages[1]


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(_picture())
    with (tmp_path / "b.png").open("wb") as file:
        file.truncate(2**40)
    assert len(list(_open(tmp_path).frames())) == 1
    assert "larger than 256 MiB" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", _png_of(40000, 40000)),
        (
            "a.bmp",
            b"BM" + struct.pack("<IIIIiiHHIIII", 99, 0, 54, 40, 40000, 40000, 1, 24, 0, 0, 0, 0) + bytes(99),
        ),
        ("a.gif", b"GIF89a\xff\xff\xff\xff\xf0\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;"),
    ],
)
def test_a_picture_that_unfolds_to_gigabytes_is_passed_over(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.png").write_bytes(_picture())
    assert [frame.number for frame in _open(tmp_path).frames()] == [1]
    assert f"{name} is passed over: it has more than 67 megapixels" in caplog.text


def test_a_photograph_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    """Orientation 6: what is up in the photograph lies to the right in the file."""
    file = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = file[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + file[2:]
    (tmp_path / "a.jpg").write_bytes(turned)
    for source in (_open(tmp_path), _open(tmp_path / "a.jpg")):
        assert [frame.size for frame in source.frames()] == [(48, 64)]
