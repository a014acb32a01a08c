"""Scenes with many different faces whose place is known: faces cut from clips, pasted into photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from dev.bench.measure import BenchmarkError
from dev.bench.people import paste, people
from dev.bench.truth import TrueFace
from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["Still", "background", "stills", "video"]

# Photographs of scikit-image in which nobody is. Every second one belongs to each half.
_PHOTOGRAPHS = (
    "brick", "chelsea", "clock_motion", "coffee", "grass", "gravel", "hubble_deep_field", "ihc", "moon",
    "motorcycle_left", "motorcycle_right", "page", "retina", "rocket", "text",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Still:
    name: str
    image: Image
    faces: list[TrueFace]


@cache
def photographs() -> list[Image]:
    """Raises BenchmarkError where scikit-image is not installed."""
    try:
        import skimage.data  # noqa: PLC0415 - only here
    except ImportError:
        raise BenchmarkError("composed scenes need scikit-image: pip install scikit-image") from None
    folder = Path(skimage.data.__file__).parent
    paths = [path for name in _PHOTOGRAPHS for path in folder.glob(f"{name}.*")]
    return [cast("Image", cv2.imread(str(path), cv2.IMREAD_COLOR)) for path in paths]


def stills(folder: Path, half: str, *, count: int, seed: int = 1) -> Iterator[Still]:
    """Pictures with up to five faces of 18 pixels to half the height, of the people of one half."""
    everyone = people(folder, half)
    rng = np.random.default_rng(seed + 1000 * (half == "report"))
    for number in range(count):
        size = [(640, 480), (800, 600), (1024, 768)][number % 3]
        image = background(rng, size)
        faces: list[TrueFace] = []
        for _ in range(rng.integers(1, 6)):
            person = everyone[rng.integers(len(everyone))]
            view = person.views[rng.integers(len(person.views))]
            most = min(1.4 * view.box.side, size[1] * 0.45)
            side = float(np.exp(rng.uniform(np.log(18), np.log(most))))
            x, y = (float(rng.uniform(0.8 * side, edge - 0.8 * side)) for edge in size)
            place = Box.at(x, y, 2.2 * side, 2.4 * side)
            if any(
                place.iou(Box.at(*other.box.centre, 2.2 * other.box.side, 2.4 * other.box.side)) > 0 for other in faces
            ):
                continue
            box = paste(
                image,
                view,
                (x, y),
                side,
                degrees=float(np.clip(rng.normal(0, 9), -20, 20)),
                mirrored=bool(rng.integers(2)),
                match=float(rng.uniform(0.2, 0.8)),
            )
            faces.append(TrueFace(box, len(faces)))
        yield Still(f"{half}-{number}", _worn(rng, image), faces)


def video(folder: Path, half: str, *, frames: int, seed: int, size: tuple[int, int] = (640, 480)) -> list[Still]:
    """A calm scene, in which people of one half come up one by one, stay for at least a second, and go.

    Each moves a little and lives: its pictures are those of a clip in a row.
    """
    everyone = people(folder, half)
    rng = np.random.default_rng(seed + 1000 * (half == "report"))
    wall = cast("Image", cv2.GaussianBlur(background(rng, size), (0, 0), rng.uniform(0.5, 3)))
    gain, deviation = rng.uniform(0.5, 1.1), rng.uniform(1, 4)
    parts: list[dict[str, Any]] = []
    for _ in range(rng.integers(2, 5)):
        person = everyone[rng.integers(len(everyone))]
        side = float(np.exp(rng.uniform(np.log(42), np.log(min(1.5 * person.views[0].box.side, 0.4 * size[1])))))
        begin = int(rng.integers(0, frames - 32))
        centre = np.array([rng.uniform(side, edge - side) for edge in size])
        if any(np.abs(centre - other["centre"]).max() < 1.3 * (side + other["side"]) for other in parts):
            continue
        parts.append(
            {
                "person": person,
                "side": side,
                "centre": centre,
                "begin": begin,
                "end": begin + int(rng.integers(32, 70)),
                "speed": rng.normal(0, 0.01, 2) * side,
                "degrees": float(np.clip(rng.normal(0, 9), -20, 20)),
                "match": float(rng.uniform(0.2, 0.8)),
            }
        )
    shown = []
    for number in range(frames):
        image, faces = wall.copy(), []
        for who, part in enumerate(parts):
            if part["begin"] <= number < part["end"]:
                views, at = part["person"].views, number - part["begin"]
                # Forth and back, as a clip is shorter than a stay.
                index = at % (2 * len(views) - 2)
                view = views[min(index, 2 * len(views) - 2 - index)]
                centre = part["centre"] + at * part["speed"]
                box = paste(image, view, tuple(centre), part["side"], degrees=part["degrees"], match=part["match"])
                faces.append(TrueFace(box, who))
        noise = rng.normal(0, deviation, image.shape).astype(np.float32)
        worn = np.clip(image * np.float32(gain) + noise, 0, 255).astype(np.uint8)
        shown.append(Still(f"{half}-{seed}-{number}", worn, faces))
    return shown


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """A part of a photograph in which nobody is, of that width and height."""
    images = photographs()
    image = images[rng.integers(len(images))]
    height, width = image.shape[:2]
    share = rng.uniform(0.5, 1.0)
    across = min(width, round(share * min(width, height * size[0] / size[1])))
    down = min(height, round(across * size[1] / size[0]))
    x, y = rng.integers(width - across + 1), rng.integers(height - down + 1)
    part = cv2.resize(image[y : y + down, x : x + across], size, interpolation=cv2.INTER_CUBIC)
    return cast("Image", cv2.flip(part, 1) if rng.integers(2) else part)


def _worn(rng: np.random.Generator, image: Image) -> Image:
    """As cameras make it: out of focus now and then, dim, noisy, JPEG."""
    if rng.random() < 0.3:
        image = cast("Image", cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5)))
    gain = rng.uniform(0.2, 0.6) if rng.random() < 0.25 else rng.uniform(0.8, 1.15)
    noise = rng.normal(0, rng.uniform(0, 7), image.shape).astype(np.float32)
    image = np.clip(image * np.float32(gain) + noise, 0, 255).astype(np.uint8)
    return cast(
        "Image",
        cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])[1], cv2.IMREAD_COLOR
        ),
    )
