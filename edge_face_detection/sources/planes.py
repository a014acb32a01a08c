"""JPEGs decoded to planes of brightness and colour, by libjpeg-turbo.

OpenCV decodes by the same library, but always makes a colour picture of the whole frame. That is much of the cost, and
needed only where a face is. Where the library is not installed, OpenCV does it all.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_ulong, c_void_p
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.opencv import cv2

__all__ = ["IS_THERE", "Planes", "decode_planes"]

Plane: TypeAlias = NDArray[np.uint8]

# Alpine's py3-opencv and Debian's libturbojpeg0 bring it along. That of PyPI's opencv-python is OpenCV's alone.
_FILES = ("libturbojpeg.so.0", "libturbojpeg.0.dylib", "/opt/homebrew/lib/libturbojpeg.0.dylib")
# Of turbojpeg.h: the form in which cameras send colours, a warning's code, and pixels across and down that share a
# colour.
_YCBCR, _WARNING = 1, 0
_STEPS = {0: (1, 1), 1: (2, 1), 2: (2, 2)}


@dataclass(frozen=True, slots=True)
class Planes:
    """A picture as its JPEG holds it: brightness (Y, H×W uint8) and two colours (Cb and Cr), as JFIF defines them."""

    y: Plane
    cb: Plane
    cr: Plane
    #: Pixels across and down that share a colour.
    steps: tuple[int, int]

    def colour(self, region: tuple[int, int, int, int]) -> Plane:
        """A part (x, y, width and height, inside the picture) in colour: H×W×3 uint8, BGR.

        Colours are interpolated, as OpenCV's own decoding does it. A channel differs from that by 2 at most.
        """
        x, y, width, height = region
        across, down = self.steps
        # One more on each side, to interpolate with.
        left, top = max(0, x // across - 1), max(0, y // down - 1)
        part = np.s_[top : -(-(y + height) // down) + 1, left : -(-(x + width) // across) + 1]
        planes = [self.y[y : y + height, x : x + width]]
        for plane in (self.cr[part], self.cb[part]):
            size = plane.shape[1] * across, plane.shape[0] * down
            full = cast("Plane", cv2.resize(plane, size) if self.steps != (1, 1) else plane)
            planes.append(full[y - top * down :, x - left * across :][:height, :width])
        return _bgr(planes)

    def view(self, region: tuple[int, int, int, int], size: tuple[int, int], interpolation: int) -> Plane:
        """The same in another size (width and height)."""
        x, y, width, height = region
        if size == (width, height):
            return self.colour(region)
        across, down = self.steps
        part = np.s_[y // down : -(-(y + height) // down), x // across : -(-(x + width) // across)]
        planes = self.y[y : y + height, x : x + width], self.cr[part], self.cb[part]
        return _bgr([cv2.resize(plane, size, interpolation=interpolation) for plane in planes])


def _bgr(planes: Sequence[Any]) -> Plane:
    """`planes`: Y, Cr and Cb of the same size."""
    return cast("Plane", cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR))


class _Turbo:
    """The library's functions."""

    def __init__(self, library: Any) -> None:
        library.tjInitDecompress.restype = c_void_p
        library.tjDecompressHeader3.argtypes = [c_void_p, c_void_p, c_ulong, *[POINTER(c_int)] * 4]
        library.tjPlaneWidth.argtypes = library.tjPlaneHeight.argtypes = [c_int] * 3
        library.tjDecompressToYUVPlanes.argtypes = [
            c_void_p, c_void_p, c_ulong, POINTER(c_void_p), c_int, POINTER(c_int), c_int, c_int,
        ]  # fmt: skip
        library.tjGetErrorStr2.restype = c_char_p
        library.tjGetErrorStr2.argtypes = library.tjGetErrorCode.argtypes = library.tjDestroy.argtypes = [c_void_p]
        self._library = library

    def decode(self, data: Plane, size: tuple[int, int]) -> Planes | None:
        # A new decoder for each picture, which takes half a microsecond: an old one still has the tables of the picture
        # before, and would take them for those of a picture without any, which mean the standard's.
        decoder = c_void_p(self._library.tjInitDecompress())
        try:
            return self._decoded(decoder, data, size)
        finally:
            self._library.tjDestroy(decoder)

    def _decoded(self, decoder: c_void_p, data: Plane, size: tuple[int, int]) -> Planes | None:
        source = decoder, data.ctypes.data, data.size
        width, height, sampling, colours = c_int(), c_int(), c_int(), c_int()
        header = byref(width), byref(height), byref(sampling), byref(colours)
        if self._library.tjDecompressHeader3(*source, *header) or (width.value, height.value) != size:
            return None
        steps = _STEPS.get(sampling.value)
        if steps is None or colours.value != _YCBCR:
            return None
        planes = [self._plane(number, size, sampling) for number in range(3)]
        places = (c_void_p * 3)(*(plane.ctypes.data for plane in planes))
        failed = self._library.tjDecompressToYUVPlanes(*source, places, 0, None, size[1], 0)
        if failed and not self._is_harmless(decoder):
            return None
        return Planes(planes[0][: size[1], : size[0]], planes[1], planes[2], steps)

    def _is_harmless(self, decoder: c_void_p) -> bool:
        """Whether the last call only warned of bytes that do not belong there: some cameras add them everywhere."""
        is_warning = self._library.tjGetErrorCode(decoder) == _WARNING
        return is_warning and b"extraneous bytes" in self._library.tjGetErrorStr2(decoder)

    def _plane(self, number: int, size: tuple[int, int], sampling: c_int) -> Plane:
        width = self._library.tjPlaneWidth(number, size[0], sampling)
        height = self._library.tjPlaneHeight(number, size[1], sampling)
        return np.empty((height, width), np.uint8)


def _load() -> _Turbo | None:
    for file in _FILES:
        try:
            return _Turbo(ctypes.CDLL(file))
        except (OSError, AttributeError):
            continue
    return None


_turbo = _load()
#: Whether the library is installed.
IS_THERE = _turbo is not None


def decode_planes(data: Plane, size: tuple[int, int]) -> Planes | None:
    """The picture of a JPEG's bytes, if it has that width and height.

    None where the library is missing, and for what is damaged or not as cameras send it: OpenCV then has the say.
    """
    return _turbo.decode(data, size) if _turbo else None
