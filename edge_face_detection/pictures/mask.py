"""Privacy masks: parts of the picture that are painted over before anything looks at a frame."""

import json
from itertools import combinations, pairwise
from typing import TypeAlias

import numpy as np

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["Mask", "Polygon"]

Point: TypeAlias = tuple[float, float]
Polygon: TypeAlias = tuple[Point, ...]
"""Corners in order, as fractions of the frame: x from the left, y from the top, both from 0 to 1."""

# A flat area has no features, so no detector finds a face in it.
_GREY = (128, 128, 128)
# OpenCV takes corners in fractions of a pixel: 1/2 to this power.
_SHIFT = 4


class Mask:
    """Polygons that are painted over in grey. An empty `text` has none. Otherwise it has one of two forms:

        0,0 0.5,0 0.5,1 0,1; 0.8,0 1,0 1,0.3
        [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]], [[0.8, 0], [1, 0], [1, 0.3]]]

    Raises ValueError for a polygon that encloses no area, or whose inside is not clear.
    """

    def __init__(self, text: str) -> None:
        self.polygons: tuple[Polygon, ...] = tuple(
            _checked(number, points) for number, points in enumerate(_read(text), start=1)
        )

    def paint(self, picture: Image) -> None:
        """Paint over a frame (H×W×3 or H×W, uint8, of any size), in place.

        Every pixel that is covered in part is painted, and up to three pixels around it.
        """
        for polygon in self.polygons:
            # In OpenCV the middle of a pixel is at whole numbers, not its corner.
            corners = (np.array(polygon) * picture.shape[1::-1] - 0.5) * 2**_SHIFT
            # Each polygon by itself: OpenCV leaves open what two in one call both cover.
            outline = [np.rint(corners).astype(np.int32)]
            cv2.fillPoly(picture, outline, _GREY, shift=_SHIFT)
            cv2.polylines(picture, outline, isClosed=True, color=_GREY, thickness=3, shift=_SHIFT)


def _read(text: str) -> list[list[Point]]:
    try:
        if text.lstrip().startswith("["):
            return [[(float(x), float(y)) for x, y in points] for points in json.loads(text)]
        polygons = [[float(number) for number in part.replace(",", " ").split()] for part in text.split(";")]
        return [list(zip(numbers[::2], numbers[1::2], strict=True)) for numbers in polygons if numbers]
    except (ValueError, TypeError):
        raise ValueError(
            "has something else in it than pairs of numbers: polygons are written as"
            " 0,0 0.5,0 0.5,1; 0.8,0 1,0 1,0.3 or as [[[0,0],[0.5,0],[0.5,1]]]"
        ) from None


def _checked(number: int, points: list[Point]) -> Polygon:
    if points[1:] and points[0] == points[-1]:
        points = points[:-1]  # closed in writing, as in GeoJSON
    if not all(0 <= value <= 1 for point in points for value in point):
        raise ValueError(f"polygon {number} leaves the frame: its numbers are fractions of the frame, from 0 to 1")
    sides = list(pairwise([*points, *points[:1]]))
    if len(points) < 3 or sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in sides) == 0:
        raise ValueError(f"polygon {number} encloses nothing: give three corners or more that are not in one line")
    if len(set(points)) < len(points) or any(_cross(one, other) for one, other in combinations(sides, 2)):
        raise ValueError(
            f"polygon {number} has sides that cross, or a corner twice: name its corners in the order in which a pen"
            " would go round it, and make two polygons of what is two"
        )
    return tuple(points)


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    (a, b), (c, d) = one, other
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _turn(a: Point, b: Point, c: Point) -> float:
    """Positive where the way from a over b to c turns to one side, negative where it turns to the other."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
