"""Clips whose truth is known: one astronaut as several people, who act what a scene says before a wall."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dev.bench.measure import BenchmarkError
from dev.bench.scenes import SCENES
from dev.bench.truth import TrueFace
from dev.stack.clip import PICTURE
from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["make_film", "open_writer"]

#: Frames a second.
FPS = 30

# Head and shoulders in the picture, the face in them (x, y, side), what is behind (top, bottom); pixels.
_BUST = (75, 5, 290)
_FACE = (100, 61, 98)
_CLUTTER = (250, 512)
_NOISES = 4
# Of the frame's width: with that the naive loop takes about as long as for a webcam's picture of a room; for a sharp
# one it would take far longer, which would flatter the others, and for a bare wall far less.
_BLUR = 0.008

# Up to here a face counts as shown; what is turned, tilted or hidden more is neither there nor not there.
_MOST_TURNED, _MOST_TILTED, _MOST_HIDDEN = 0.15, 15.0, 0.1


def make_film(path: Path, scene: str, *, size: tuple[int, int], frames: int, smallest: float) -> list[list[TrueFace]]:
    """Writes a Motion-JPEG AVI of `size` (width and height); returns who is in each frame.

    Faces with a side of less than `smallest` pixels do not count. Raises BenchmarkError when it cannot be written.
    """
    people = SCENES[scene](size[1])
    walls = _walls(size)
    truth = []
    writer = open_writer(path, size, quality=80)
    for number in range(frames):
        image = walls[number % len(walls)].copy()
        shown: list[TrueFace] = []
        for who, person in enumerate(people):
            pose = person.pose(number / FPS)
            if pose is not None:
                shown = [*(_behind(face, pose, size) for face in shown), _face(who, pose, size, smallest)]
                _draw(image, person.look, pose)
        truth.append([face for face in shown if _part_in(face.box, Box(0, 0, *size)) > 0])
        writer.write(image)
    writer.release()
    return truth


def open_writer(path: Path, size: tuple[int, int], *, quality: int) -> cv2.VideoWriter:
    """Motion-JPEG, as cameras have it. Raises BenchmarkError."""
    settings = [cv2.VIDEOWRITER_PROP_QUALITY, quality]
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, fourcc, FPS, size, settings)
    if not writer.isOpened():
        raise BenchmarkError(f"{path} cannot be written: OpenCV opens no Motion-JPEG AVI there")
    return writer


def _face(who: int, pose: tuple[float, ...], size: tuple[int, int], smallest: float) -> TrueFace:
    x, y, share, tilt, turned, covered = pose
    side = share * size[1]
    box = Box.at(x * size[0], y * size[1], side, side)
    is_shown = turned <= _MOST_TURNED and abs(tilt) <= _MOST_TILTED and covered <= _MOST_HIDDEN
    return TrueFace(box, who, is_shown and side >= smallest and _part_in(box, Box(0, 0, *size)) > 1 - 1e-9)


def _behind(face: TrueFace, pose: tuple[float, ...], size: tuple[int, int]) -> TrueFace:
    """What becomes of a face when somebody comes before it."""
    x, y, share, *_ = pose
    zoom = share * size[1] / _FACE[2]
    middle = _FACE[0] + _FACE[2] / 2, _FACE[1] + _FACE[2] / 2
    bust = Box(x * size[0] - middle[0] * zoom, y * size[1] - middle[1] * zoom, _BUST[2] * zoom, _BUST[2] * zoom)
    return TrueFace(face.box, face.person, face.counts and _part_in(face.box, bust) <= _MOST_HIDDEN)


def _part_in(box: Box, other: Box) -> float:
    across = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
    down = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
    return max(0.0, across) * max(0.0, down) / (box.width * box.height)


def _draw(image: Image, look: int, pose: tuple[float, ...]) -> None:
    x, y, share, tilt, turned, covered = pose
    height, width = image.shape[:2]
    zoom = share * height / _FACE[2]
    middle = _face_x(look) + _FACE[2] / 2, _FACE[1] + _FACE[2] / 2
    reach = 2.3 * _FACE[2] * zoom + 2
    left, right = (round(min(width, max(0, x * width + part))) for part in (-reach, reach))
    top, bottom = (round(min(height, max(0, y * height + part))) for part in (-reach, reach))
    if left >= right or top >= bottom:
        return
    turn = np.vstack([cv2.getRotationMatrix2D(middle, tilt, zoom), [0, 0, 1]])
    squeeze = np.array([[1 - 0.6 * turned, 0, 0.6 * turned * middle[0]], [0, 1, 0], [0, 0, 1]])
    to_frame = (turn @ squeeze)[:2]
    to_frame[:, 2] += (x * width - middle[0] - left, y * height - middle[1] - top)
    bust = _bust(look).copy()
    if turned:
        back = cv2.ellipse(bust.copy(), (tuple(map(int, middle)), (110, 150), 0), (22, 30, 45), -1)
        share_of_back = min(1.0, max(0.0, turned - 0.4) / 0.3)
        bust = cast("Image", cv2.addWeighted(back, share_of_back, bust, 1 - share_of_back, 0))
    if covered:
        upper = round(_FACE[1] + _FACE[2] * (1.1 - 1.2 * covered))
        cv2.rectangle(bust, (_face_x(look) - 20, upper), (_face_x(look) + _FACE[2] + 20, _BUST[2]), (120, 140, 175), -1)
    size = right - left, bottom - top
    part = image[top:bottom, left:right]
    weight = cv2.warpAffine(_vignette(), to_frame, size)
    part[:] = cv2.blendLinear(cv2.warpAffine(bust, to_frame, size), part, weight, 1 - weight)


def _face_x(look: int) -> int:
    return _BUST[2] - _FACE[0] - _FACE[2] if look in (1, 3) else _FACE[0]


@cache
def _bust(look: int) -> Image:
    """0: as in the picture; 1: mirrored; 2: darker; 3: mirrored, with light from one side; 4: paler, in cold light."""
    x, y, side = _BUST
    bust = _picture()[y : y + side, x : x + side].astype(np.float64)
    if look in (1, 3):
        bust = bust[:, ::-1]
    looks = {
        2: 255 * (bust / 255) ** 1.8 * (0.8, 0.95, 1.05),
        3: bust * np.linspace(0.35, 1.1, side)[:, np.newaxis],
        4: 60 + bust * (0.75, 0.7, 0.65),
    }
    return np.ascontiguousarray(np.clip(looks.get(look, bust), 0, 255), np.uint8)


@cache
def _vignette() -> NDArray[np.float32]:
    """1 in the middle of the bust, softly 0 at its edge, for a face that does not stand in a hard frame."""
    away = np.abs(np.linspace(-1, 1, _BUST[2]))
    return np.asarray(np.clip((1 - np.maximum(away, away[:, np.newaxis])) * 6, 0, 1), np.float32)


def _walls(size: tuple[int, int]) -> list[Image]:
    """What is behind the people, out of focus, each time with other noise of the sensor."""
    sharp = cv2.resize(_picture()[slice(*_CLUTTER)], size, interpolation=cv2.INTER_CUBIC)
    wall = np.asarray(cv2.GaussianBlur(sharp, (0, 0), _BLUR * size[0]), np.float32)
    noise = np.random.default_rng(7)
    walls = (0.7 * wall + 50 + noise.normal(0, 2.5, wall.shape) for _ in range(_NOISES))
    return [np.asarray(np.clip(noisy, 0, 255), np.uint8) for noisy in walls]


@cache
def _picture() -> Image:
    picture = cv2.imread(str(PICTURE))
    if picture is None:
        raise FileNotFoundError(f"{PICTURE} is missing or no picture")
    return cast("Image", picture)
