"""Scenes whose truth is known: the astronaut's face where a test puts it, as frames for a tracker."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_face_detection.faces.detector import Box, Finder
from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.yunet import YuNetFinder
from edge_face_detection.sources.frame import Frame, Image, Jpeg

SIZE = (320, 240)
"""Width and height of a scene, in pixels."""

# Head and shoulders in the picture, and the face in them (x, y, side; pixels).
_BUST = (115, 5, 220)
_FACE = (60, 61, 98)

with_both = pytest.mark.parametrize("finder", ["haar", "yunet"], indirect=True)
"""For tests that take `finder`, which is then each of the two; yunet where YUNET_MODEL names its file."""


def make_finder(name: str) -> Finder:
    if name == "haar":
        return HaarFinder()
    if "YUNET_MODEL" not in os.environ:
        pytest.skip("YUNET_MODEL does not name YuNet's model")
    return YuNetFinder(Path(os.environ["YUNET_MODEL"]))


@cache
def _bust(*, mirrored: bool) -> Image:
    picture = cv2.imread(str(Path(__file__).parents[2] / "dev" / "stack" / "astronaut.jpg"))
    assert picture is not None
    x, y, side = _BUST
    bust = picture[y : y + side, x : x + side]
    return np.asarray(cv2.flip(bust, 1) if mirrored else bust, np.uint8)


def scene(
    faces: Iterable[tuple[float, float, float]],
    *,
    size: tuple[int, int] = SIZE,
    number: int = 0,
    mirrored: bool = False,
) -> Image:
    """A wall with a little noise, and faces (middle's x and y, side; pixels) before it, the last in front.

    `mirrored`: every other face is, so that they are not alike.
    """
    width, height = size
    noise = np.random.default_rng(number).integers(0, 5, (height, width, 1), dtype=np.uint8)
    wall = np.linspace(110, 150, width, dtype=np.uint8)[np.newaxis, :, np.newaxis]
    image = np.repeat(wall + noise, 3, axis=2)
    for index, (x, y, side) in enumerate(faces):
        flip = mirrored and index % 2 == 1
        zoom = side / _FACE[2]
        across = _BUST[2] - _FACE[0] - _FACE[2] / 2 if flip else _FACE[0] + _FACE[2] / 2
        to_frame = np.array([[zoom, 0, x - across * zoom], [0, zoom, y - (_FACE[1] + _FACE[2] / 2) * zoom]])
        bust = _bust(mirrored=flip)
        mask = cv2.warpAffine(np.full(bust.shape[:2], 255, np.uint8), to_frame, size)
        np.copyto(image, np.asarray(cv2.warpAffine(bust, to_frame, size), np.uint8), where=mask[..., np.newaxis] > 127)
    return image


def frame(image: Image | Jpeg, number: int = 0, seconds: float = 0.0) -> Frame:
    return Frame(image, number, datetime.now(UTC), seconds)


def box(x: float, y: float, side: float) -> Box:
    """Of a face in a scene, as its middle and side."""
    return Box(x - side / 2, y - side / 2, side, side)
