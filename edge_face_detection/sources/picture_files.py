"""Picture files as a recording: one frame each. A file that cannot be read is passed over with a line that says why."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edge_face_detection.opencv import MAX_PIXELS, cv2
from edge_face_detection.sources.address import shown_path
from edge_face_detection.sources.frame import Image, SourceError, to_bgr

_SUFFIXES = re.compile(r"\.(png|jpe?g?|jfif|bmp|dib|webp|tiff?|gif|avif|heic|heif|jp2|jxl|p[bgpn]m)", re.IGNORECASE)
_KINDS = {
    "PNG": rb"\x89PNG\r\n",
    "JPEG": rb"\xff\xd8\xff",
    "BMP": rb"BM....\0\0\0\0",
    "GIF": rb"GIF8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "AVIF": rb"....ftypavi[fs]",
    "HEIF": rb"....ftyp(hei|hev|mif1|msf1)",
    "JPEG 2000": rb"\0\0\0\x0cjP  ",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "netpbm": rb"P[1-7]\s",
}
_HEAD_BYTES = 32
# The largest picture that OpenCV may decode (see opencv.py) has less, whatever its format.
MAX_FILE_BYTES = 2**28
UNREADABLE_WARNINGS = 10
FRAMES_PER_SECOND = 30.0

_log = logging.getLogger(__name__)


class Pictures:
    """A Recording of picture files. Raises SourceError when none of them is a picture."""

    step = 1 / FRAMES_PER_SECOND

    def __init__(self, place: Path, paths: Iterable[Path]) -> None:
        self.description = shown_path(place)
        self._unreadable = 0
        self._paths = [path for path in paths if self._is_file(path)]
        if not any(map(picture_kind, self._paths)):
            raise SourceError(
                f"no pictures in {self.description}: png, jpg, jpeg and bmp files are looked for there, and webp, tiff,"
                " gif and avif ones"
            )

    @classmethod
    def of_folder(cls, folder: Path) -> Pictures:
        """The pictures in a folder, by their names: 2.png comes before 10.png. Raises OSError and SourceError."""
        # Hidden files in such a folder are a file manager's leavings.
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
        others = [path for path in paths if not is_picture_name(path)]
        if others:
            text = "%d entries of %s have no picture's name and are passed over, such as %s"
            _log.info(text, len(others), shown_path(folder), shown_path(others[0].name))
        return cls(folder, sorted(filter(is_picture_name, paths), key=_natural_order))

    def rewind(self) -> None:
        self._index = -1

    def grab(self) -> bool:
        self._index += 1
        return self._index < len(self._paths)

    @property
    def position(self) -> float:
        return self._index * self.step

    def retrieve(self) -> Image | None:
        path = self._paths[self._index]
        try:
            return _decoded(_content(path))
        except (OSError, ValueError) as error:
            self._tell_unreadable(path, getattr(error, "strerror", None) or str(error))
            return None

    def release(self) -> None:
        """Nothing is held open."""

    def _is_file(self, path: Path) -> bool:
        try:
            if stat.S_ISREG(path.stat().st_mode):
                return True
            self._tell_unreadable(path, "it is a folder, a pipe or a device")
        except OSError as error:
            self._tell_unreadable(path, error.strerror)
        return False

    def _tell_unreadable(self, path: Path, reason: str | None) -> None:
        self._unreadable += 1
        if self._unreadable <= UNREADABLE_WARNINGS:
            _log.warning("picture %s is passed over: %s", shown_path(path), reason)
        if self._unreadable == UNREADABLE_WARNINGS:
            _log.warning("further pictures of %s that cannot be read are passed over without a line", self.description)


def is_picture_name(path: Path) -> bool:
    return _SUFFIXES.fullmatch(path.suffix) is not None


def picture_kind(path: Path) -> str | None:
    """The format that a file begins as; None where it is no known picture's, or cannot be read."""
    try:
        return _kind(_content(path, _HEAD_BYTES))
    except (OSError, ValueError):
        return None


def _kind(content: bytes) -> str | None:
    return next((name for name, begin in _KINDS.items() if re.match(begin, content, re.DOTALL)), None)


def _content(path: Path, most: int | None = None) -> bytes:
    """A file's first bytes, or all of it. Raises OSError, and ValueError for what no picture can be."""
    # Without waiting: what was a file when the folder was listed may be a pipe now.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file any more")
        if most is None and status.st_size > MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
        return file.read(MAX_FILE_BYTES if most is None else most)


def _decoded(content: bytes) -> Image:
    """H×W×3 uint8, BGR, turned as its EXIF data say. Raises ValueError, which says what is wrong."""
    if not content:
        raise ValueError("it is empty")
    try:
        # By content, since OpenCV crashes on names that are no UTF-8. IMREAD_COLOR makes BGR of 8 bits of grey
        # pictures, of 16 bits and of those with alpha.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "validateInputImageSize" in str(error):
            raise ValueError(f"it has more than {MAX_PIXELS // 10**6} megapixels: make it smaller") from None
        raise ValueError(" ".join(str(error).split())) from None
    if image is not None:
        return to_bgr(image)
    if (kind := _kind(content)) is None:
        raise ValueError("it is no picture")
    raise ValueError(f"it is broken, or a {kind} that this OpenCV cannot decode: convert it to PNG or JPEG")


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.name.lower())
    return [(int(number or 0), text) for number, text in parts], path.name
