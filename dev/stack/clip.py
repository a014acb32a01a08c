"""A clip with faces for where there is no camera: a picture of an astronaut, moved about. Always the same.

    python -m dev.stack.clip OUT.avi --seconds 20

Needs OpenCV and NumPy only, as it also runs in the detector's image.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

PICTURE = Path(__file__).with_name("astronaut.jpg")

# Head and shoulders in the picture, and the face in it (x, y, width, height; pixels).
_BUST = (75, 5, 290, 290)
_FACE = (175, 66, 98, 98)

# The story repeats: nobody, one comes and goes, two, one.
_CYCLE_SECONDS = 10.0
_VISITS = ((1.0, 9.0), (4.0, 8.0))
_ENTER_SECONDS = 0.8
_JPEG_QUALITY = 80
_BACKGROUNDS = 6


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a bust is: its centre in pixels, its scale, its tilt in degrees."""

    x: float
    y: float
    scale: float
    tilt: float


def face_boxes(
    number: int,
    *,
    fps: float = 30,
    size: tuple[int, int] = (640, 480),
    faces: int = 2,
) -> list[tuple[int, int, int, int]]:
    """The faces that frame `number` shows whole, as `x, y, width, height` in pixels: what a detector should find."""
    width, height = size
    boxes = []
    for pose in _poses(number / fps, size=size, faces=faces):
        x, y = _to_frame(pose) @ (_FACE[0] + _FACE[2] / 2, _FACE[1] + _FACE[3] / 2, 1)
        side = _FACE[2] * pose.scale
        left, top = x - side / 2, y - side / 2
        if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
            boxes.append((round(left), round(top), round(side), round(side)))
    return boxes


def make_clip(
    path: Path,
    *,
    seconds: float = 20,
    fps: float = 30,
    size: tuple[int, int] = (640, 480),
    faces: int = 2,
) -> int:
    """Write a Motion-JPEG AVI with up to `faces` (1 or 2) faces at once. Returns the number of frames.

    The file appears under its name only when it is complete.

    Raises:
        OSError: the picture cannot be read or the clip not written.

    """
    read = cv2.imread(str(PICTURE))
    if read is None:
        raise FileNotFoundError(f"{PICTURE} is missing or no picture")
    picture = np.asarray(read, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    # OpenCV's own writer: it is in every build, and its frames are the same on each.
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    quality = [cv2.VIDEOWRITER_PROP_QUALITY, _JPEG_QUALITY]
    writer = cv2.VideoWriter(str(unfinished), cv2.CAP_OPENCV_MJPEG, fourcc, fps, size, quality)
    if not writer.isOpened():
        raise OSError(f"{path} cannot be written: OpenCV opens no Motion-JPEG AVI there")
    try:
        backgrounds = _backgrounds(size)
        count = round(seconds * fps)
        for number in range(count):
            frame: Image = backgrounds[number % len(backgrounds)]
            for pose in _poses(number / fps, size=size, faces=faces):
                frame = _paste(frame, picture, pose)
            writer.write(frame)
        writer.release()
        unfinished.replace(path)
    finally:
        writer.release()
        unfinished.unlink(missing_ok=True)
    return count


def _poses(time: float, *, size: tuple[int, int], faces: int) -> list[_Pose]:
    width, height = size
    unit = height / 480
    in_cycle = time % _CYCLE_SECONDS
    poses = []
    for person, (begin, end) in enumerate(_VISITS[:faces]):
        if not begin <= in_cycle < end:
            continue
        # 1 while present; on the way in and out it slides to 0, which is outside of the frame, at the person's side.
        presence = _smooth(min(in_cycle - begin, end - in_cycle) / _ENTER_SECONDS)
        side = -1 if person == 0 else 1
        phase = time * 2 * math.pi + person * 2.1
        scale = unit * (0.85 + 0.3 * math.sin(phase * 0.13)) * (1.0 if person == 0 else 0.85)
        x = width * (0.5 + side * 0.22) + 45 * unit * math.sin(phase * 0.21)
        outside = (-1 if side < 0 else 1) * (0.25 * width + _BUST[2] * scale)
        y = height * 0.56 + 30 * unit * math.sin(phase * 0.17)
        poses.append(_Pose(x + (1 - presence) * outside, y, scale, 5 * math.sin(phase * 0.11)))
    return poses


def _smooth(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def _to_frame(pose: _Pose) -> NDArray[np.float64]:
    """The 2 by 3 matrix from the picture's pixels to the frame's."""
    centre = (_BUST[0] + _BUST[2] / 2, _BUST[1] + _BUST[3] / 2)
    matrix: NDArray[Any] = cv2.getRotationMatrix2D(centre, pose.tilt, pose.scale)
    matrix[:, 2] += (pose.x - centre[0], pose.y - centre[1])
    return matrix.astype(np.float64)


def _paste(frame: Image, picture: Image, pose: _Pose) -> Image:
    height, width = frame.shape[:2]
    matrix = _to_frame(pose)
    bust = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(_vignette(picture.shape[:2]), matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.blendLinear(bust, frame, weight, 1 - weight), dtype=np.uint8)


@cache
def _vignette(shape: tuple[int, int]) -> NDArray[np.float32]:
    """1 in the middle of the bust, softly 0 at its edge, for a face that does not stand in a hard frame."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    across = (x - (_BUST[0] + _BUST[2] / 2)) / (_BUST[2] / 2)
    down = (y - (_BUST[1] + _BUST[3] / 2)) / (_BUST[3] / 2)
    weight: NDArray[np.float32] = np.clip((1 - np.maximum(np.abs(across), np.abs(down))) * 6, 0, 1).astype(np.float32)
    return weight


def _backgrounds(size: tuple[int, int]) -> list[Image]:
    """A wall in soft light, each time with other sensor noise."""
    width, height = size
    noise = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = 150 - 60 * (x / width - 0.3) ** 2 - 70 * (y / height - 0.2) ** 2
    wall = light[..., None] + np.array([6, 2, -4], dtype=np.float32)
    return [np.clip(wall + noise.normal(0, 1.2, wall.shape), 0, 255).astype(np.uint8) for _ in range(_BACKGROUNDS)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack.clip", description="make a clip with faces")
    parser.add_argument("path", type=Path, metavar="OUT.avi")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--size", default="640x480", help="default: %(default)s")
    parser.add_argument("--faces", type=int, choices=(1, 2), default=2, help="at once, at most")
    given = parser.parse_args(argv)
    try:
        width, height = (int(number) for number in given.size.split("x"))
    except ValueError:
        parser.error(f"--size: {given.size!r} is not of the form 640x480")
    if given.path.suffix != ".avi":
        parser.error(f"{given.path} must end in .avi")
    try:
        count = make_clip(given.path, seconds=given.seconds, fps=given.fps, size=(width, height), faces=given.faces)
    except OSError as error:
        print(f"clip: {error}", file=sys.stderr)
        return 1
    print(f"{given.path}: {count} frames, {given.path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
