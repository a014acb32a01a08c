"""Clips with faces for where there is no camera: a picture of an astronaut, moved about. Always the same.

    python -m dev.stack.clip OUT.avi --seconds 20

Needs OpenCV and NumPy only, as it also runs in the detector's image.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

PICTURE = Path(__file__).with_name("astronaut.jpg")

# Head and shoulders in the picture (x, y, side), and the face in them (x, y, side); pixels.
_BUST = (75, 5, 290)
_FACE = (100, 61, 98)

# The demo's story repeats: nobody, one comes and goes, two, one. Begin and end of each visit, in seconds.
_CYCLE_SECONDS = 10.0
_VISITS = ((1.0, 9.0), (4.0, 8.0))
_ENTER_SECONDS = 0.8


class Pose(NamedTuple):
    """A face in a frame.

    Its middle as fractions of width and height; its side as a fraction of the height; its tilt in degrees; how far it
    is turned away, and covered from the chin up, from 0 to 1.
    """

    x: float
    y: float
    share: float
    tilt: float = 0.0
    turned: float = 0.0
    covered: float = 0.0

    def face(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The face's box, not tilted: x, y, width and height in pixels."""
        side = self.share * size[1]
        return self.x * size[0] - side / 2, self.y * size[1] - side / 2, side, side

    def bust(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The box of head and shoulders."""
        x, y, side, _ = self.face(size)
        zoom = side / _FACE[2]
        return x - _FACE[0] * zoom, y - _FACE[1] * zoom, _BUST[2] * zoom, _BUST[2] * zoom


def face_boxes(number: int) -> list[tuple[int, int, int, int]]:
    """The faces that frame `number` of a clip shows whole, as `x, y, width, height` in pixels: the ones to be found."""
    size = (640, 480)
    boxes = (pose.face(size) for pose in _poses(number / 30, size))
    whole = (box for box in boxes if min(box) >= 0 and box[0] + box[2] <= size[0] and box[1] + box[3] <= size[1])
    return [(round(x), round(y), round(width), round(height)) for x, y, width, height in whole]


def make_clip(path: Path, *, seconds: float = 20, fps: float = 30, size: tuple[int, int] = (640, 480)) -> int:
    """Write a Motion-JPEG AVI with up to two faces at once. Returns the number of frames.

    Raises OSError when the picture cannot be read or the clip not written.
    """
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    light = 150 - 60 * (x / size[0] - 0.3) ** 2 - 70 * (y / size[1] - 0.2) ** 2
    walls = noisy(light[..., None] + np.array([6, 2, -4], dtype=np.float32), deviation=1.2, count=6)

    def frame(number: int) -> Image:
        image = walls[number % len(walls)].copy()
        for pose in _poses(number / fps, size):
            draw(image, pose)
        return image

    return write_clip(path, map(frame, range(round(seconds * fps))), fps=fps, size=size)


def write_clip(path: Path, frames: Iterable[Image], *, fps: float, size: tuple[int, int], quality: int = 80) -> int:
    """Write frames as Motion-JPEG, as cameras have it; returns their number. Raises OSError.

    The file appears under its name only when it is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    # OpenCV's own writer: it is in every build, and its frames are the same on each.
    fourcc, settings = cv2.VideoWriter.fourcc(*"MJPG"), [cv2.VIDEOWRITER_PROP_QUALITY, quality]
    writer = cv2.VideoWriter(str(unfinished), cv2.CAP_OPENCV_MJPEG, fourcc, fps, size, settings)
    if not writer.isOpened():
        raise OSError(f"{path} cannot be written: OpenCV opens no Motion-JPEG AVI there")
    count = 0
    try:
        for frame in frames:
            writer.write(frame)
            count += 1
        writer.release()
        unfinished.replace(path)
    finally:
        writer.release()
        unfinished.unlink(missing_ok=True)
    return count


def _poses(time: float, size: tuple[int, int]) -> list[Pose]:
    width, height = size
    unit = height / 480
    in_cycle = time % _CYCLE_SECONDS
    poses = []
    for person, (begin, end) in enumerate(_VISITS):
        if not begin <= in_cycle < end:
            continue
        # 1 while present; on the way in and out it slides to 0, which is outside of the frame, at the person's side.
        presence = min(1.0, min(in_cycle - begin, end - in_cycle) / _ENTER_SECONDS)
        presence = presence * presence * (3 - 2 * presence)
        side = -1 if person == 0 else 1
        phase = time * 2 * math.pi + person * 2.1
        zoom = unit * (0.85 + 0.3 * math.sin(phase * 0.13)) * (1.0 if person == 0 else 0.85)
        # The bust's middle; the face's is 4 pixels to the right of it and 35 above.
        x = width * (0.5 + side * 0.22) + 45 * unit * math.sin(phase * 0.21)
        x += (1 - presence) * side * (0.25 * width + _BUST[2] * zoom)
        y = height * 0.56 + 30 * unit * math.sin(phase * 0.17)
        tilt = 5 * math.sin(phase * 0.11)
        across, down = zoom * math.cos(math.radians(tilt)), zoom * math.sin(math.radians(tilt))
        x, y = x + 4 * across - 35 * down, y - 4 * down - 35 * across
        poses.append(Pose(x / width, y / height, _FACE[2] * zoom / height, tilt))
    return poses


def draw(image: Image, pose: Pose, look: int = 0) -> None:
    """Put head and shoulders into the image, with one of five looks: see `_bust`."""
    height, width = image.shape[:2]
    zoom = pose.share * height / _FACE[2]
    face_x = _BUST[2] - _FACE[0] - _FACE[2] if look in (1, 3) else _FACE[0]
    middle = face_x + _FACE[2] / 2, _FACE[1] + _FACE[2] / 2
    reach = 2.3 * _FACE[2] * zoom + 2
    left, right = (round(min(width, max(0, pose.x * width + part))) for part in (-reach, reach))
    top, bottom = (round(min(height, max(0, pose.y * height + part))) for part in (-reach, reach))
    if left >= right or top >= bottom:
        return
    turn = np.vstack([cv2.getRotationMatrix2D(middle, pose.tilt, zoom), [0, 0, 1]])
    squeeze = np.array([[1 - 0.6 * pose.turned, 0, 0.6 * pose.turned * middle[0]], [0, 1, 0], [0, 0, 1]])
    to_frame = (turn @ squeeze)[:2]
    to_frame[:, 2] += (pose.x * width - middle[0] - left, pose.y * height - middle[1] - top)
    bust = _bust(look)
    if pose.turned:
        back = cv2.ellipse(bust.copy(), (tuple(map(int, middle)), (110, 150), 0), (22, 30, 45), -1)
        share_of_back = min(1.0, max(0.0, pose.turned - 0.4) / 0.3)
        bust = np.asarray(cv2.addWeighted(back, share_of_back, bust, 1 - share_of_back, 0), np.uint8)
    if pose.covered:
        upper, bust = round(_FACE[1] + _FACE[2] * (1.1 - 1.2 * pose.covered)), bust.copy()
        cv2.rectangle(bust, (face_x - 20, upper), (face_x + _FACE[2] + 20, _BUST[2]), (120, 140, 175), -1)
    size = right - left, bottom - top
    part = image[top:bottom, left:right]
    weight = cv2.warpAffine(_vignette(), to_frame, size)
    part[:] = cv2.blendLinear(cv2.warpAffine(bust, to_frame, size), part, weight, 1 - weight)


@cache
def _bust(look: int) -> Image:
    """0: as in the picture; 1: mirrored; 2: darker; 3: mirrored, with light from one side; 4: paler, in cold light."""
    x, y, side = _BUST
    bust = picture()[y : y + side, x : x + side].astype(np.float64)
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


@cache
def picture() -> Image:
    read = cv2.imread(str(PICTURE))
    if read is None:
        raise FileNotFoundError(f"{PICTURE} is missing or no picture")
    return np.asarray(read, np.uint8)


def noisy(wall: NDArray[Any], *, deviation: float, count: int) -> list[Image]:
    """A wall several times, each time with other noise of a sensor."""
    noise = np.random.default_rng(7)
    walls = (wall + noise.normal(0, deviation, wall.shape) for _ in range(count))
    return [np.clip(wall, 0, 255).astype(np.uint8) for wall in walls]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack.clip", description="make a clip with faces")
    parser.add_argument("path", type=Path, metavar="OUT.avi")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--fps", type=float, default=30)
    given = parser.parse_args()
    if given.path.suffix != ".avi":
        parser.error(f"{given.path} must end in .avi")
    try:
        count = make_clip(given.path, seconds=given.seconds, fps=given.fps)
    except OSError as error:
        print(f"clip: {error}", file=sys.stderr)
        return 1
    print(f"{given.path}: {count} frames, {given.path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
