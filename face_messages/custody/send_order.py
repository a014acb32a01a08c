"""In which order an outbox is emptied: oldest first, with what is new not starved behind a backlog."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from face_messages.outbox.database import Kept
from face_messages.outbox.outbox import Outbox

# Bytes and messages that are read ahead.
_PREFETCH_BYTES = 4 * 1024 * 1024
_PREFETCH = 64


@dataclass(slots=True)
class _Lane:
    """The places behind `cursor` up to `end`, of which those in `ready` were read already."""

    cursor: int
    end: int | None  # None: open, for what is yet to come
    ready: deque[Kept] = field(default_factory=deque)


class SendOrder:
    """What is to be sent next, each message once.

    Usually there is one lane, in the order of arrival. When more than `backlog` messages have gathered, as after an
    outage, they become a lane of their own: from then on what arrives goes in turn with what waits, so that a live face
    waits for one old one and not for all, and neither lane ever stands still for the other.
    """

    def __init__(self, outbox: Outbox, *, backlog: int) -> None:
        self._outbox = outbox
        self._backlog = backlog
        self._old: deque[_Lane] = deque()
        self._live = _Lane(0, None)
        self._lives_turn = True
        self._more = threading.Event()
        self._more.set()

    def outbox_has_more(self) -> None:
        """Called from any thread."""
        self._more.set()

    @property
    def has_backlog(self) -> bool:
        return bool(self._old)

    def next(self) -> Kept | None:
        """The next message, or None where all have been given out."""
        # What is not on disk yet came a moment ago, and is live.
        settled = self._outbox.settled_seq
        if settled - self._live.cursor > self._backlog:
            # What was read ahead is read again when its turn comes: a lane that waits must not hold it in memory.
            cursor = self._live.ready[0].seq - 1 if self._live.ready else self._live.cursor
            self._old.append(_Lane(cursor, settled))
            self._live = _Lane(settled, None)
        self._lives_turn = not self._lives_turn
        if self._lives_turn:
            return self._next_live() or self._next_old()
        return self._next_old() or self._next_live()

    def _next_live(self) -> Kept | None:
        lane = self._live
        if not lane.ready and self._more.is_set():
            self._more.clear()  # before looking: what comes during the look sets it again
            if self._fill(lane):
                self._more.set()
        return lane.ready.popleft() if lane.ready else None

    def _next_old(self) -> Kept | None:
        while self._old:
            lane = self._old[0]
            if lane.ready or self._fill(lane):
                return lane.ready.popleft()
            self._old.popleft()
        return None

    def _fill(self, lane: _Lane) -> bool:
        taken = self._outbox.take(lane.cursor, upto=lane.end, limit=_PREFETCH, max_bytes=_PREFETCH_BYTES)
        if taken:
            lane.ready.extend(taken)
            lane.cursor = taken[-1].seq
        return bool(lane.ready)
