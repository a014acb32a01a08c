"""Faces as PNG files, which lose nothing."""

from __future__ import annotations

import struct
from typing import cast

import numpy as np
from isal import isal_zlib

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["encode_png"]

_SIGNATURE, _END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
# 8 bits for each of three channels, and the one kind there is of compression, filters and order of lines.
_RGB = bytes([8, 2, 0, 0, 0])
# Each line is written as the difference from the one above it. Of the single filters that one makes the smallest files
# of faces: those of the difference from the pixel before are a tenth larger.
_UP = 2
# Of ISA-L's levels 0 to 3: higher ones make files no smaller here.
_LEVEL = 1


def encode_png(image: Image) -> bytes:
    """The picture (H×W×3 uint8, BGR) as a PNG file's bytes. Raises ValueError for what is no picture.

    The format is that of "Portable Network Graphics (PNG) Specification" (W3C, 2nd edition: ISO/IEC 15948). OpenCV's
    own encoder deflates with zlib, which takes two to four times as long as Intel's ISA-L does for a file of that size.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"no PNG can be made of a {image.shape} {image.dtype} picture")
    height, width = image.shape[:2]
    rgb = cast("Image", cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).reshape(height, 3 * width)
    lines = np.empty((height, 1 + 3 * width), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rgb[0]
    np.subtract(rgb[1:], rgb[:-1], out=lines[1:, 1:])  # modulo 256
    header = struct.pack(">II", width, height) + _RGB
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", isal_zlib.compress(lines, _LEVEL)), _END))


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    check = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)
