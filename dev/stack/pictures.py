"""Numbered pictures and their events: real PNG files that say which one they are, in a camera's place."""

import os
import struct
import zlib
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
