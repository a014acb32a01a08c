"""The search of the whole frame for new faces, cut into slices that are spread over several frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_face_detection.faces.change import Region
from edge_face_detection.faces.detector import Box, Finder, Place
from edge_face_detection.faces.tilt import Upright
from edge_face_detection.sources.frame import Frame

__all__ = ["Scan", "rough"]


@dataclass(frozen=True, slots=True)
class _Slice:
    """A part of the frame, and the scale and sizes of faces for which it is searched."""

    region: Region
    #: Width and height of the picture that is searched, in pixels.
    size: tuple[int, int]
    #: The smallest and the largest of `scan_sides`.
    sides: tuple[float, float]
    #: In pixels that are looked at; needed only where slices share turns.
    cost: float = 0.0


def rough(finder: Finder, frame: Frame, region: Region, *, smallest: float, tilt: float = 0.0) -> Iterator[Place]:
    """What a rough scan sees in a part of the frame that may be a face from the smallest side (pixels) on."""
    scale, largest, room = min(1.0, finder.rough_side / smallest), 0.0, min(region[2:])
    sides = finder.scan_sides[0], finder.scan_sides[-1]
    while largest < room and room * scale >= sides[0]:
        size = round(region[2] * scale), round(region[3] * scale)
        yield from _scanned(finder, frame, _Slice(region, size, sides), tilt)
        largest = sides[1] * finder.reach / scale
        scale /= finder.octave


def _scanned(finder: Finder, frame: Frame, part: _Slice, tilt: float) -> Iterator[Place]:
    """What a scan of that part sees, in pixels of the frame."""
    (left, top, *extent), size = part.region, part.size
    across, down = extent[0] / size[0], extent[1] / size[1]
    picture = frame.view(part.region, size, grey=finder.grey)
    upright = Upright.of(picture, tilt) if tilt else None
    for found in finder.scan(upright.picture if upright else picture, *part.sides):
        x, y, width, height = upright.box(found) if upright else found
        yield Place(Box(left + x * across, top + y * down, width * across, height * down), tilt)


class Scan:
    """Searches frames of one size, in passes of `turns` turns of about the same cost.

    A pass is an image pyramid (E. H. Adelson et al., "Pyramid methods in image processing", 1984). It begins at the
    scale at which faces of `min_face_size` (pixels of the frame) are as large as the finder needs them, but nowhere
    larger than `max_side` (pixels). What is too much for one turn is cut by the sizes of faces, then into strips that
    overlap by a face.
    """

    def __init__(
        self,
        finder: Finder,
        size: tuple[int, int],
        *,
        min_face_size: float,
        max_side: float,
        turns: int,
        tilts: Sequence[float] = (0.0,),
    ) -> None:
        self.size = size
        #: Of the largest picture that is searched.
        self.scale = min(1.0, finder.scan_sides[0] / min_face_size, max_side / max(size))
        self._finder = finder
        self._tilts = tilts
        self._turn = 0
        scales: list[float] = []
        scale, largest = self.scale, 0.0
        while largest < min(size) and min(size) * scale >= finder.scan_sides[0]:
            scales.append(scale)
            largest = finder.scan_sides[-1] * finder.reach / scale
            scale /= finder.octave
        share = sum(cost for scale in scales for _, cost in self._levels(scale)) / turns
        # A slice is done in the turn in whose share the middle of its cost falls.
        by_turn: list[list[_Slice]] = [[] for _ in range(turns)]
        done = 0.0
        for part in [part for scale in scales for part in self._slices_of(scale, share)]:
            by_turn[int((done + part.cost / 2) / share * (1 - 1e-9))].append(part)
            done += part.cost
        self._slices = [turn for turn in by_turn if turn]

    @property
    def turns(self) -> int:
        """Turns of a pass: fewer where there is little to do, none where no face has room."""
        return len(self._slices)

    def next(self, frame: Frame) -> Iterator[Place]:
        """Possible faces, in pixels of the frame, by the next turn of a pass; each pass is for the next of `tilts`."""
        if not self._slices or not self._tilts:
            return iter(())
        passes, turn = divmod(self._turn, len(self._slices))
        self._turn += 1
        return self._search(frame, self._slices[turn], self._tilts[passes % len(self._tilts)])

    def whole(self, frame: Frame) -> Iterator[Place]:
        """Possible faces, by passes for all `tilts` in this one frame."""
        for tilt in self._tilts:
            yield from self._search(frame, [part for slices in self._slices for part in slices], tilt)

    def _search(self, frame: Frame, slices: list[_Slice], tilt: float) -> Iterator[Place]:
        for part in slices:
            yield from _scanned(self._finder, frame, part, tilt)

    def _levels(self, scale: float) -> list[tuple[float, float]]:
        """The sides searched for at this scale, and the cost of each."""
        sides = self._finder.scan_sides
        pixels = self.size[0] * self.size[1] * scale**2
        return [(side, pixels * (sides[0] / side) ** 2) for side in sides if side <= min(self.size) * scale]

    def _slices_of(self, scale: float, share: float) -> Iterator[_Slice]:
        levels = self._levels(scale)
        if (cost := sum(cost for _, cost in levels)) <= share:
            yield from self._strips(scale, (levels[0][0], levels[-1][0]), cost, 1)
            return
        for side, cost in levels:
            overlap = side * self._finder.reach / scale
            most = max(1, math.floor(self.size[1] / overlap / 2))
            yield from self._strips(scale, (side, side), cost, min(most, max(1, round(cost / share))))

    def _strips(self, scale: float, sides: tuple[float, float], cost: float, count: int) -> Iterator[_Slice]:
        width, height = self.size
        overlap = sides[1] * self._finder.reach / scale
        for number in range(count):
            top = round(max(0.0, height * number / count - overlap / 2))
            bottom = round(min(float(height), height * (number + 1) / count + overlap / 2))
            shown = max(1, round(width * scale)), max(1, round((bottom - top) * scale))
            yield _Slice((0, top, width, bottom - top), shown, sides, cost / count)
