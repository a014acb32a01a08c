"""Numbered pictures and their events: real PNG files that say which one they are, in a camera's place."""

import os
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

from face_messages import FaceEvent, new_id

#: The first and the last bytes of a PNG file.
SIGNATURE, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
EDGE_ID = "benchmark"

# A private, ancillary, safe-to-copy chunk with the number and noise (PNG specification, section 5.4).
_NUMBER = b"nuMb"
_NUMBER_AT = len(SIGNATURE) + 25 + 8
# A folder each in the bucket: with tens of thousands of files in one, rclone takes five times as long for a PUT.
_CAMERAS = 64


def numbered_picture(number: int, size: int) -> bytes:
    """A PNG of `size` bytes, at least 100, that cannot be compressed: one grey pixel, and noise behind its number."""
    head = SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    tail = _chunk(b"IDAT", zlib.compress(b"\0\x80")) + _chunk(b"IEND", b"")
    noise = os.urandom(size - len(head) - len(tail) - 20)
    return head + _chunk(_NUMBER, struct.pack(">Q", number) + noise) + tail


def number_of(picture: bytes) -> int | None:
    """The number inside a whole numbered picture; None for anything else."""
    if picture[_NUMBER_AT - 4 : _NUMBER_AT] != _NUMBER or not picture.endswith(END):
        return None
    return int(struct.unpack_from(">Q", picture, _NUMBER_AT)[0])


class PictureReader:
    """Finds the numbered pictures in a stream: in PUBLISH packets, or in PUT requests, whose bodies they are."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def read(self, data: bytes) -> Iterator[int | None]:
        """Takes the bytes in their order; yields the number of each picture that has come whole."""
        unread = self._unread
        unread += data
        while (start := unread.find(SIGNATURE)) >= 0 and (end := unread.find(END, start)) >= 0:
            yield number_of(bytes(unread[start : end + len(END)]))
            del unread[: end + len(END)]
        # Nothing before a picture is needed, but the last bytes may be the first of its signature.
        del unread[: start if start >= 0 else 1 - len(SIGNATURE)]


def face_event(number: int = 0, edge_id: str = EDGE_ID) -> FaceEvent:
    """An event as the detector makes it, captured now by one of several cameras."""
    return FaceEvent(
        id=new_id(),
        edge_id=edge_id,
        camera_id=f"camera{number % _CAMERAS}",
        time=datetime.now(UTC),
        frame=number,
        framesize=(640, 480),
        facebox=(200, 150, 96, 96),
        score=12.5,
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
