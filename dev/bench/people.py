"""Faces of many people, cut from clips: what composed scenes are made of.

Each clip's faces are found by YuNet in each whole frame and linked to persons. Persons are split in two halves by
clip: one to tune on, the other to report on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dev.bench.detecting import network_calls, read
from dev.bench.measure import BenchmarkError
from dev.bench.truth import TrueFace, link
from edge_face_detection.faces.detector import Box
from edge_face_detection.faces.yunet import turn
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["HALVES", "Person", "View", "paste", "people"]

#: Every second clip, by name.
HALVES = ("tune", "report")
_SCORE, _LEAST_SIDE, _LEAST_VIEWS = 0.85, 32, 8
# What is cut out around a face, in sides of its box, so that hair and neck come along.
_MARGIN = 0.9
# Half axes of the ellipse that is pasted, in sides of the face's box, and where it begins to fade.
_ELLIPSE, _FADE = (0.78, 0.95), 0.72


@dataclass(frozen=True, slots=True)
class View:
    """A face in one frame: a cut-out (H×W×3 uint8, BGR), the face's box in it, and how frontal it is (0 to 1)."""

    image: Image
    box: Box
    frontality: float


@dataclass(frozen=True, slots=True)
class Person:
    """The views are of frames in a row."""

    name: str
    views: list[View]


@cache
def people(folder: Path, half: str) -> list[Person]:
    """The persons of one half of the clips in `folder`. Raises BenchmarkError where there are none."""
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".mkv", ".gif", ".mp4", ".avi"})
    found = [person for path in clips[HALVES.index(half) :: 2] for person in _of_clip(path)]
    if not found:
        raise BenchmarkError(f"{folder} has no clips with faces for the half {half!r}")
    return found


def _of_clip(path: Path) -> list[Person]:
    frames = list(read(str(path)))
    look = network_calls(_SCORE)
    rows = [look(image) for image in frames]
    linked = link([[TrueFace(Box(*map(float, row[:4]))) for row in of_frame] for of_frame in rows])
    views: dict[int, list[View]] = {}
    for image, of_frame, faces in zip(frames, rows, linked, strict=True):
        for row, face in zip(of_frame, faces, strict=True):
            if (view := _view(image, face.box, _frontality(image, row, look))) is not None:
                views.setdefault(face.person, []).append(view)
    return [Person(f"{path.name}-{who}", seen) for who, seen in views.items() if len(seen) >= _LEAST_VIEWS]


def _frontality(
    image: Image, row: NDArray[np.float32], look: Callable[[Image], Sequence[NDArray[np.float32]]]
) -> float:
    """Of the face in that row, by the mean of what the frame and its mirror image tell.

    One look alone errs to the same side of a face and of its mirror image. In the mean of both that cancels out.
    """
    box = Box(*map(float, row[:4]))
    mirrored = box._replace(x=image.shape[1] - box.x - box.width)
    others = [
        (Box(*map(float, other[:4])).iou(mirrored), -turn(other)) for other in look(cast("Image", cv2.flip(image, 1)))
    ]
    overlap, other = max(others, default=(0.0, 0.0))
    turned = (turn(row) + other) / 2 if overlap else turn(row)
    return max(0.0, 1 - 2 * abs(turned))


def _view(image: Image, box: Box, frontal: float) -> View | None:
    """None for a face that is too small, or too near to the frame's edge."""
    across, down = box.side * _MARGIN, box.side * _MARGIN
    left, top = round(box.x - across), round(box.y - down)
    right, bottom = round(box.x + box.width + across), round(box.y + box.height + down)
    height, width = image.shape[:2]
    inside = min(box.x, box.y, width - box.x - box.width, height - box.y - box.height)
    if box.side < _LEAST_SIDE or inside < 0.25 * box.side:
        return None
    # Beyond the frame its edge is repeated: the mask hides most of that.
    pads = [max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)]
    padded = cv2.copyMakeBorder(image, pads[0], pads[1], pads[2], pads[3], cv2.BORDER_REPLICATE)
    x, y = left + pads[2], top + pads[0]
    cut = padded[y : y + bottom - top, x : x + right - left].copy()
    return View(cast("Image", cut), Box(box.x - left, box.y - top, box.width, box.height), frontal)


def paste(
    image: Image,
    view: View,
    centre: tuple[float, float],
    side: float,
    *,
    degrees: float = 0.0,
    mirrored: bool = False,
    match: float = 0.5,
) -> Box:
    """Paste a face of that side (pixels) in place, with a soft edge, its light drawn to the background's by `match`.

    Returns its box in the picture.
    """
    cut, box = view.image, view.box
    if mirrored:
        cut, box = cast("Image", cv2.flip(cut, 1)), box._replace(x=cut.shape[1] - box.x - box.width)
    zoom = side / box.side
    blurred = cv2.GaussianBlur(cut, (0, 0), 0.4 / zoom) if zoom < 0.8 else cut
    turn = cv2.getRotationMatrix2D(box.centre, degrees, zoom)
    turn[:, 2] += np.array(centre) - np.array(box.centre)
    size = image.shape[1], image.shape[0]
    mask = np.zeros(cut.shape[:2], np.float32)
    axes = tuple(max(1, round(part * box.side)) for part in _ELLIPSE)
    middle = round(box.centre[0]), round(box.centre[1] - 0.1 * box.side)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), max(1.0, (1 - _FADE) / 2 * box.side))
    x0, y0 = (max(0, int(value - 1.8 * side)) for value in centre)
    x1, y1 = (min(most, int(value + 1.8 * side) + 1) for value, most in zip(centre, size, strict=True))
    if x0 >= x1 or y0 >= y1:
        return Box.at(*centre, box.width * zoom, box.height * zoom)
    turn[:, 2] -= (x0, y0)
    part = image[y0:y1, x0:x1]
    shape = x1 - x0, y1 - y0
    pasted = cv2.warpAffine(blurred, turn, shape, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    weight = cv2.warpAffine(soft, turn, shape)[..., np.newaxis]
    if weight.sum() > 0:
        here = (part * weight).sum((0, 1)) / weight.sum()
        there = (pasted * weight).sum((0, 1)) / weight.sum()
        gain = np.clip((there + match * (here - there)) / np.maximum(there, 1), 0.4, 1.6)
        pasted = pasted * gain
    image[y0:y1, x0:x1] = np.clip(part * (1 - weight) + pasted * weight, 0, 255).astype(np.uint8)
    return Box.at(*centre, box.width * zoom, box.height * zoom)
