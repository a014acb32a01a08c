"""Where in a frame new faces are looked for: places that have changed, and the next part of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from edge_face_detection.faces.change import Change, ChangeWatch, Region
from edge_face_detection.faces.detector import Box, Finder, Place
from edge_face_detection.faces.scan import Scan, rough
from edge_face_detection.sources.frame import Frame

__all__ = ["Search"]

# Searching what has changed costs no more, on average, than the whole frame in so many ticks (see Change). It begins
# anew when the smallest region, this share of the frame, can be paid.
_NEWS_TICKS, _LEAST_NEWS = 24, 1 / 16
# A rough scan costs this part of a search with all care.
_ROUGH_SHARE = 0.3
# Turns in which a pass of the scan is done, and one of that for tilted faces.
_TURNS, _TILTED_TURNS = 2, 4
# Tilted faces are looked for from this multiple of the smallest size on, as small ones cost most, and none of fewer
# pixels than this: in smaller ones round things such as stones and letters look like tilted faces.
_TILTED, _TILTED_LEAST = 1.3, 40
# Of so many places that have changed, one is also searched for tilted faces, of one tilt.
_TILTED_NEWS = 2


class Search:
    """Says where a tracker is to look. All sides are in pixels; its settings are the tracker's."""

    def __init__(self, finder: Finder, *, min_face_size: int, max_side: int, scan_ticks: int) -> None:
        self._finder = finder
        self._smallest, self._smallest_tilted = min_face_size, max(_TILTED_LEAST, _TILTED * min_face_size)
        self._max_side = max_side
        self._scan_ticks = scan_ticks
        self._watch = ChangeWatch()
        self._scan: Scan | None = None
        self._tilted_scan: Scan
        self._waited = 0.0
        self._budget = 1.0
        # Searches of places that had changed in which no new face was found.
        self._faceless = 0

    def next(self, frame: Frame, *, spent: float, busy: float) -> Change:
        """How the next frame differs from the one before; `spent` and `busy` as in ChangeWatch.

        Raises UnreadableFrameError.
        """
        if self._scan is None or frame.size != self._scan.size:
            scan = partial(Scan, self._finder, frame.size, max_side=self._max_side)
            tilts = self._finder.tilts
            self._scan = scan(min_face_size=self._smallest, turns=_TURNS)
            self._tilted_scan = scan(min_face_size=self._smallest_tilted, turns=_TILTED_TURNS, tilts=tilts)
        change = self._watch.next(frame, shrink=1 / self._scan.scale, spent=spent, busy=busy)
        self._waited += change.ticks
        self._budget = min(1.0, self._budget + change.ticks / _NEWS_TICKS)
        return change

    def news(self, frame: Frame, known: Sequence[Box]) -> Iterator[tuple[Region, bool, list[Place]]]:
        """Parts of the frame in which something has come, whether a part may show a face, and where tilted ones may be.

        A part that may show a face is to be searched with all care, and `searched` is to be called for each. On average
        that costs no more than the whole frame in _NEWS_TICKS ticks.
        """
        if self._budget < _LEAST_NEWS:
            return
        tilts = self._finder.tilts
        for region in self._watch.news(known):
            share = region[2] * region[3] / (frame.size[0] * frame.size[1])
            if share * _ROUGH_SHARE > self._budget:
                continue
            self._budget -= share * _ROUGH_SHARE
            is_suspect = next(rough(self._finder, frame, region, smallest=self._smallest), None) is not None
            if is_suspect:
                self._budget -= share * (1 - _ROUGH_SHARE)
            places: list[Place] = []
            turn, rest = divmod(self._faceless, _TILTED_NEWS)
            if tilts and rest:
                self._budget -= share * _ROUGH_SHARE
                smallest, tilt = self._smallest_tilted, tilts[turn % len(tilts)]
                places = list(rough(self._finder, frame, region, smallest=smallest, tilt=tilt))
            yield region, is_suspect, places

    def searched(self, region: Region, *, found: bool) -> None:
        """That part of the frame has been searched. `found`: whether a new face was there."""
        self._faceless += not found
        self._watch.searched(region, found=found)

    def turn(self, frame: Frame) -> Iterator[Place]:
        """Possible faces in the part of the frame whose turn it is now, if any."""
        assert self._scan is not None
        if self._scan_ticks <= self._waited * self._scan.turns:
            self._waited = 0.0
            yield from self._scan.next(frame)
            yield from self._tilted_scan.next(frame)

    def tilted(self, frame: Frame) -> Iterator[Place]:
        """Possible faces in the whole frame that the finder sees only in a turned picture."""
        return self._tilted_scan.whole(frame)
