"""Numbered pictures: real PNG files that say which one they are."""

from __future__ import annotations

import os
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A private, ancillary, safe-to-copy chunk (PNG specification, section 5.4).
_NUMBER = b"nuMb"
_NUMBER_AT = len(SIGNATURE) + 25 + 8


def numbered_picture(number: int, size: int) -> bytes:
    """A grey PNG of noise with its number inside, about `size` bytes."""
    side = max(1, int((size - 100) ** 0.5))
    rows = b"".join(b"\0" + os.urandom(side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (_NUMBER, struct.pack(">Q", number)),
        (b"IDAT", zlib.compress(rows, 0)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def number_of(picture: bytes) -> int | None:
    """The number inside a whole numbered picture; None for anything else."""
    if picture[_NUMBER_AT - 4 : _NUMBER_AT] != _NUMBER or not picture.endswith(b"IEND\xaeB`\x82"):
        return None
    return int(struct.unpack_from(">Q", picture, _NUMBER_AT)[0])
