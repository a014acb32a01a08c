"""Time stamps of frames that sort in the order of capture, whatever the wall clock does."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_face_detection.sources.frame import Frame

_log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
#: An earlier clock was never set: without a battery it begins in 1970, or when its system was built.
NOT_SET_BEFORE = datetime(2025, 1, 1, tzinfo=UTC)
#: A smaller step back is a correction and is evened out. After a larger one the clock was wrong before.
LARGEST_CORRECTION = timedelta(minutes=5)


class CaptureClock:
    """Stamps frames with the wall clock, and evens out its small steps back.

    * A clock that is not set is not used: time goes on from the newest known time.
    * After a step back of up to LARGEST_CORRECTION, time goes on at half speed until the wall clock has caught up, as
      with adjtime(3).
    * A larger step, in either direction, is followed: somebody has corrected the clock.

    No two frames in a row get the same time. `known` is a past time (aware).
    """

    def __init__(self, known: datetime = NOT_SET_BEFORE) -> None:
        self._last = max(known, NOT_SET_BEFORE)
        self._last_monotonic: float | None = None
        self._is_set = True

    def stamped(self, frame: Frame) -> Frame:
        """The frame, with its time corrected. To be called in the order of capture."""
        wall, since = frame.captured_at, self._last_monotonic
        elapsed = timedelta(seconds=0 if since is None else frame.captured_monotonic - since)
        expected = self._last + elapsed
        self._tell(wall, expected, is_first=since is None)
        if wall < NOT_SET_BEFORE:
            now = max(expected, self._last + _TICK)
        elif wall > self._last or wall < self._last - LARGEST_CORRECTION:
            now = wall
        else:
            now = max(min(self._last + elapsed / 2, wall + LARGEST_CORRECTION), self._last + _TICK)
        self._last, self._last_monotonic = now, frame.captured_monotonic
        frame.captured_at = now
        return frame

    def _tell(self, wall: datetime, expected: datetime, *, is_first: bool) -> None:
        was_set, self._is_set = self._is_set, wall >= NOT_SET_BEFORE
        said, believed = (moment.isoformat(" ", "seconds") for moment in (wall, expected))
        if was_set and not self._is_set:
            _log.warning("the clock is not set, it says %s: frames are stamped from %s on until it is", said, believed)
        elif self._is_set and not was_set:
            _log.info("the clock is set, it says %s: frames are stamped by it again, after %s", said, believed)
        elif self._is_set and abs(wall - expected) > LARGEST_CORRECTION and not (is_first and wall > expected):
            _log.warning("the clock went from %s to %s: frames are stamped by it", believed, said)


def last_face_at(outbox: Path) -> datetime:
    """When the last face in this outbox was captured; 1970 where that is not known."""
    try:
        return _EPOCH + timedelta(microseconds=_marker(outbox).stat().st_mtime_ns // 1000)
    except (OSError, OverflowError):
        return _EPOCH


def remember_face(outbox: Path, captured_at: datetime) -> None:
    """Notes when a face was captured, for a restart with a clock that is not set.

    The note is the modification time of an empty file beside the outbox. The outbox's own files will not do: they are
    of 1970 after a run without a set clock.
    """
    marker, ns = _marker(outbox), (captured_at - _EPOCH) // _TICK * 1000
    # Nothing is lost without the note. A disk that refuses it also refuses the outbox, which says so.
    with contextlib.suppress(OSError):
        marker.touch()
        os.utime(marker, ns=(ns, ns))


def _marker(outbox: Path) -> Path:
    return outbox.with_name(f"{outbox.name}.last-face")
