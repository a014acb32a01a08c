"""Video files: read whatever they are called, and turned as they say."""

import itertools
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_face_detection.sources import camera
from edge_face_detection.sources.frame import SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.source import Source


def _open(path: Path, *, loop: bool = False) -> Source:
    return open_source(str(path), realtime=False, loop=loop)


def _write(path: Path, picture: np.ndarray, *, fourcc: str = "MJPG", frames: int = 3) -> None:
    size = picture.shape[1], picture.shape[0]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), 20, size)
    for _ in range(frames):
        writer.write(picture)
    writer.release()


@pytest.mark.parametrize("name", [b"\xff\xfe.avi", b"a\nb.avi", "\u202eü.avi".encode(), b"l" * 250 + b".avi"])
def test_a_video_is_read_whatever_its_name(tmp_path: Path, name: bytes) -> None:
    """Also when it begins again."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
    _write(tmp_path / "clip.avi", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "clip.avi").rename(path)
    source = _open(path, loop=True)
    assert source.description.isprintable()
    assert len(list(itertools.islice(source.frames(), 7))) == 7


def test_what_is_wrong_with_a_video_of_an_odd_name_is_said_in_one_line(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\n.avi"))
    path.write_bytes(b"none")
    with pytest.raises(SourceError, match=r"no video can be read from .*\\xff\\n\.avi") as refused:
        _open(path)
    assert str(refused.value).isprintable()


def test_a_video_whose_frames_are_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such frames would fill the memory; here the limit is lower."""
    _write(tmp_path / "a.avi", np.zeros((1500, 1000, 3), np.uint8))
    monkeypatch.setattr(camera, "MAX_PIXELS", 10**6)
    with pytest.raises(SourceError, match=r"1000x1500 pixels, more than 1 megapixels\. Make them smaller"):
        _open(tmp_path / "a.avi")


# The matrix of a track in MOV: where its x and y axes point (QuickTime File Format, "Track header atoms").
_MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("fourcc", ["MJPG", "mp4v"])
@pytest.mark.parametrize("degrees", _MATRICES)
def test_a_video_is_turned_as_it_says(tmp_path: Path, degrees: int, fourcc: str) -> None:
    """JPEGs, which are not left to FFmpeg otherwise, like other codecs. Its left half is dark."""
    path = tmp_path / "clip.mov"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = 200
    _write(path, picture, fourcc=fourcc)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = _MATRICES[degrees]
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    expected = np.rot90(picture, -degrees // 90)
    for frame in _open(path).frames():
        assert frame.size == expected.shape[1::-1]
        assert np.abs(frame.image.astype(int) - expected).mean() < 10
