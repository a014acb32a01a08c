"""Reads Motion-JPEG over HTTP as small cameras send it, which is seldom as RFC 2046, section 5.1, has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

MAX_PICTURE_BYTES = 2**25
# What may stand between two pictures: boundary, header, a line of text.
_MAX_HEAD_BYTES = 2**16
# A part that is no JPEG.
_MAX_OTHER_BYTES = 2**23
_MAX_BOUNDARY_BYTES = 300
# Zeros behind a picture, with which some cameras fill up their buffer.
_MAX_FILLING_BYTES = 2**13
_SOI, _EOI = b"\xff\xd8\xff", b"\xff\xd9"
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d{1,12})[ \t]*\r?$")
_BLANK_LINE = re.compile(rb"(?:\A|\r?\n)\r?\n")
_ANY_BOUNDARY = re.compile(rb"^\s*-{2,}([^\s-]\S{0,200})[ \t]*\r?\n")
# In a scan 0xFF is followed by 0, or by a restart's number; anything else there is a marker.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


class NoPictureError(Exception):
    """The stream is none of JPEGs; the message says why."""


class Parts:
    """The parts of a multipart stream, each as soon as it is complete. Iterating raises NoPictureError.

    A JPEG ends where its Content-Length says, if its end is there; else where its markers say; else at the next
    boundary. A stream without any boundary may be JPEG after JPEG. A part that is no JPEG is given as it is.

    `read` returns the stream's next bytes, none at its end. `boundary` is as the Content-Type names it, which may not
    be how the stream writes it; empty if it names none.
    """

    def __init__(self, read: Callable[[], bytes], boundary: str = "") -> None:
        self._read = read
        self._look_for(boundary.encode("latin-1", "replace"))
        self._buffer = bytearray()
        self._has_boundaries = False
        self._lengths_are_right = True

    def __iter__(self) -> Iterator[bytes]:
        while True:
            start = self._buffer.find(_SOI)
            text = bytes(self._buffer[: start if start >= 0 else len(self._buffer)])
            if self._boundary is None and (line := _ANY_BOUNDARY.match(text)):
                self._look_for(line[1])
            parts = self._boundary.split(text) if self._boundary else [text]
            self._has_boundaries |= len(parts) > 1
            # All parts before the last one are complete. Before the first boundary stands no part.
            yield from filter(None, map(_body, parts[1:-1]))
            if start >= 0 and (len(parts) > 1 or not self._has_boundaries):
                del self._buffer[:start]
                if (picture := self._picture(parts[-1])) is None:
                    return
                yield picture
            elif start >= 0:  # a second picture in the same part, such as a preview
                del self._buffer[: start + len(_SOI)]
            elif len(text) > (_MAX_OTHER_BYTES if self._has_boundaries else _MAX_HEAD_BYTES):
                raise NoPictureError("there is no JPEG in its stream")
            elif len(parts) > 2 and self._boundary:
                *_, last = self._boundary.finditer(text)
                del self._buffer[: last.start()]
            elif not self._more():
                return

    def _look_for(self, boundary: bytes) -> None:
        """Make a pattern of the line that divides parts. Cameras write too few dashes or too many."""
        self._core = boundary.strip().strip(b'"').strip().strip(b"-")[:_MAX_BOUNDARY_BYTES]
        self._boundary: re.Pattern[bytes] | None = None
        if self._core:
            # A short one without dashes would also be found within pictures.
            before = rb"(?:(?:\A|\r?\n)-*|--+)" if len(self._core) > 3 else rb"(?:\r?\n)?--+"
            self._boundary = re.compile(before + re.escape(self._core) + rb"-*[ \t]*\r?\n")

    def _picture(self, head: bytes) -> bytes | None:
        """The JPEG with which the buffer begins; None where the stream ends before it does."""
        lengths = _LENGTH.findall(head)
        length = int(lengths[-1]) if lengths and self._lengths_are_right else 0
        end, searched, has_ended = _End(), 0, False
        while True:
            size = len(self._buffer)
            if length and size >= length:
                tail = self._buffer[max(0, length - _MAX_FILLING_BYTES) : length]
                if tail.rstrip(b"\0\r\n").endswith(_EOI):
                    return self._take(length)
            if length and (size >= length or has_ended or length > MAX_PICTURE_BYTES):
                self._lengths_are_right = False
                length = 0
            if not length:
                ends = [at for at in (end.find(self._buffer), self._boundary_behind(searched)) if at is not None]
                if ends:
                    return self._take(min(ends))
                searched = size
            if size > MAX_PICTURE_BYTES:
                raise NoPictureError(f"it has a picture of more than {MAX_PICTURE_BYTES >> 20} MiB")
            if has_ended:
                return None
            has_ended = not self._more()

    def _take(self, length: int) -> bytes:
        picture = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return picture

    def _boundary_behind(self, searched: int) -> int | None:
        """Where the next boundary begins; all but the last bytes before `searched` have been looked at."""
        if self._boundary is None:
            return None
        start = max(0, searched - _MAX_BOUNDARY_BYTES)
        # A plain search first: it is many times as fast.
        if self._buffer.find(self._core, start) < 0:
            return None
        boundary = self._boundary.search(self._buffer, start)
        return boundary.start() if boundary else None

    def _more(self) -> bool:
        data = self._read()
        self._buffer += data
        return bool(data)


class _End:
    """Finds where a JPEG ends (ITU-T T.81, B.1.1): pictures within its segments, such as EXIF's, are passed over."""

    def __init__(self) -> None:
        self._at = 2
        self._in_scan = False

    def find(self, data: bytearray) -> int | None:
        """The JPEG's length; None while it is not complete. `data` is what there is of it, from its beginning."""
        while True:
            if self._in_scan:
                marker = _MARKER.search(data, self._at)
                if marker is None:
                    self._at = max(self._at, len(data) - 1)
                    return None
                self._at = marker.end() - 2
                self._in_scan = False
            if len(data) < self._at + 4 and data[self._at : self._at + 2] != _EOI:
                return None
            code = data[self._at + 1] if data[self._at] == 0xFF else 0
            if code == 0xD9:
                return self._at + 2
            if code in (0, 0xFF):  # no marker where one should be, or filled up
                self._at += 1
                self._in_scan = code == 0
            elif code == 0xD8:  # the next one: this one has no end
                return self._at
            elif code == 0x01 or 0xD0 <= code <= 0xD7:
                self._at += 2
            else:
                self._at += 2 + int.from_bytes(data[self._at + 2 : self._at + 4])
                self._in_scan = code == 0xDA


def _body(part: bytes) -> bytes:
    """What a part has behind its header."""
    blank = _BLANK_LINE.search(part)
    return part[blank.end() :].strip(b"\r\n") if blank else b""
