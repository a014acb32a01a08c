"""How a frame differs from the one before: in time, and in what it shows. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import STILL_SECONDS, Frame, Image

__all__ = ["Change", "ChangeWatch"]

Region: TypeAlias = tuple[int, int, int, int]
"""x, y, width and height in the frame, in pixels."""

# After a gap of so many seconds nobody is known again.
_FORGET_SECONDS = 2.0
# A gap that is the search's own, but for these seconds, does not count: on a slow processor each frame would stand
# alone for ever.
_OWN_SECONDS = 0.2
# A part of the picture has changed when it differs by this many grey levels of 255 from the frame before. A new scene
# has changed by the share _CUT. Where both are dark, it has changed by fewer levels and no longer correlates, and each
# shows more (standard deviation, grey levels) than noise does.
_CHANGED, _CUT = 25, 0.5
_CHANGED_DARK, _CUT_DARK, _CORRELATION, _CONTRAST = 4, 0.4, 0.5, 3.0
# Something has come when the change is _STIR above a multiple of what is usual, which is learnt.
_STIR, _STIR_USUAL, _USUAL_GAIN = 0.02, 2, 0.05
_GLANCE = (64, 48)
# A place is searched anew when it differs by this many grey levels from when it was searched last.
_NEWS = 12
# Somebody whose face is followed moves all the time. Head and shoulders do not count (sides of the face's box).
_ASIDE, _ABOVE, _BELOW = 0.8, 0.6, 1.5
# What is added around such places, in cells of the glance. Searched are quarters of the frame's sides and multiples of
# it: networks are built for a size, and a face that has changed in part is then seen as a whole.
_AROUND, _PARTS = 3, 4
_GROWN = np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8)
# Fewer cells of the glance than these are noise.
_LEAST_CELLS = 4
# For so many ticks at most, a place that goes on changing is left alone. After so many without a search it is calm.
_WAIT_TICKS, _CALM_TICKS = 32, 60
# Ticks are what a search waits by, so that it takes as long with few frames a second. A frame counts as one at least,
# and as so many at most.
_TICKS_SECOND, _MOST_TICKS = 30, 15


@dataclass(frozen=True, slots=True)
class Change:
    #: The frame before says little about this one.
    is_alone: bool
    #: It says nothing: all tracks end.
    is_cut: bool
    #: More has changed than is usual.
    is_stir: bool
    #: Time since the frame before, in thirtieths of a second: 1 to 15.
    elapsed: float
    #: The same without what looking at that frame took: on a slow processor, searching must not make for more of it.
    ticks: float


class ChangeWatch:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._glance = np.zeros(_GLANCE[::-1], np.uint8)
        self._searched = self._glance.copy()
        # For each cell of the glance: the tick from which on it is searched again, and how many it waited for that.
        self._due = np.zeros(_GLANCE[::-1])
        self._wait = np.ones(_GLANCE[::-1])
        self._now = 0.0
        self._size = (0, 0)
        self._moment = 0.0
        self._usual = 0.0

    def next(self, frame: Frame, *, shrink: float, spent: float, busy: float) -> Change:
        """`shrink`: by how much a `view` of the frame is going to shrink it. `spent`: seconds that the search of the
        whole frame before took, if there was one; `busy`: that all took. Raises UnreadableFrameError.
        """
        glance = frame.glance(_GLANCE, shrink=shrink)
        changed = float(np.count_nonzero(cv2.absdiff(glance, self._glance) > _CHANGED)) / glance.size
        # The absolute value: a clock may be set back.
        seconds = abs(frame.moment - self._moment)
        is_live = frame.moment == frame.captured_monotonic
        elapsed, ticks = (
            min(max(1.0, part * _TICKS_SECOND), _MOST_TICKS) for part in (seconds, seconds - busy * is_live)
        )
        self._now += ticks
        if is_live and seconds - spent < _OWN_SECONDS:
            seconds = 0.0
        is_new = frame.size != self._size
        is_cut = is_new or changed > _CUT or seconds >= _FORGET_SECONDS or _is_other(self._glance, glance)
        is_stir = changed > _STIR + _STIR_USUAL * self._usual
        self._usual += _USUAL_GAIN * (min(changed, _CUT) - self._usual)
        self._glance, self._size, self._moment = glance, frame.size, frame.moment
        return Change(is_cut or seconds >= STILL_SECONDS, is_cut, is_stir, elapsed, ticks)

    def news(self, known: Iterable[Box]) -> list[Region]:
        """Where something has come since that place was searched, apart from the faces that are known.

        Where a place changes again and again and searches find nothing, it is left out for longer each time.
        """
        news = cv2.threshold(cv2.absdiff(self._glance, self._searched), _NEWS, 255, cv2.THRESH_BINARY)[1]
        across, down = (cells / side for cells, side in zip(_GLANCE, self._size, strict=True))
        for box in known:
            x, y, width, height = box.x - box.width * _ASIDE, box.y - box.height * _ABOVE, box.width, box.height
            width, height = width * (1 + 2 * _ASIDE), height * (1 + _ABOVE + _BELOW)
            left, top = max(0, int(x * across)), max(0, int(y * down))
            news[top : max(0, math.ceil((y + height) * down)), left : max(0, math.ceil((x + width) * across))] = 0
        if cv2.countNonZero(news) < _LEAST_CELLS:
            return []
        # The median of 3×3 cells, which OpenCV's own function takes ten times as long for.
        mean = cv2.blur(news, (3, 3), borderType=cv2.BORDER_REPLICATE)
        news = cv2.threshold(mean, 127, 255, cv2.THRESH_BINARY)[1]
        due = (news > 0) & (self._due <= self._now)
        if not due.any():
            return []
        # All of what moves together is searched where a part of it is due: a face may be anywhere in it.
        _, labels, places, _ = cv2.connectedComponentsWithStats(cv2.dilate(news, _GROWN))
        regions = {self._region(*map(int, places[index][:4])) for index in np.unique(labels[due])}
        if sum(width * height for _, _, width, height in regions) > self._size[0] * self._size[1]:
            return [(0, 0, *self._size)]
        return sorted(regions)

    def searched(self, region: Region, *, found: bool) -> None:
        """That part of the frame has been searched. `found`: whether a new face was there."""
        across, down = (cells / side for cells, side in zip(_GLANCE, self._size, strict=True))
        x, y, width, height = region
        part = np.s_[int(y * down) : math.ceil((y + height) * down), int(x * across) : math.ceil((x + width) * across)]
        if not found:
            # A place that was calm since it was due begins anew.
            calm = self._now - self._due[part] > _CALM_TICKS
            self._wait[part] = np.where(calm, 1, np.minimum(2 * self._wait[part], _WAIT_TICKS))
            self._due[part] = self._now + self._wait[part]
        self._searched[part] = self._glance[part]

    def _region(self, *place: int) -> Region:
        """Cells of the glance as a part of the frame."""
        origin, extent = [], []
        for begin, length, cells, side in zip(place[:2], place[2:], _GLANCE, self._size, strict=True):
            parts = min(_PARTS, math.ceil(length * _PARTS / cells))
            whole = side * parts // _PARTS
            middle = (begin + length / 2) * side / cells
            origin.append(min(max(0, round(middle - whole / 2)), side - whole))
            extent.append(whole)
        return origin[0], origin[1], extent[0], extent[1]


def _is_other(one: Image, other: Image) -> bool:
    """Whether two glances show different scenes, both of them dark or not."""
    if np.count_nonzero(cv2.absdiff(one, other) > _CHANGED_DARK) < _CUT_DARK * one.size:
        return False
    smooth, other_smooth = (cv2.blur(picture.astype(np.float32), (3, 3)) for picture in (one, other))
    if min(smooth.std(), other_smooth.std()) < _CONTRAST:
        return False
    return float(np.corrcoef(smooth.ravel(), other_smooth.ravel())[0, 1]) < _CORRELATION
