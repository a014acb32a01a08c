"""In which order an outbox is emptied: oldest first, but a backlog does not starve new messages."""

from collections import deque

from face_messages.outbox.database import Kept
from face_messages.outbox.outbox import Outbox

# Bytes and messages that are read ahead.
_PREFETCH_BYTES = 4 * 1024 * 1024
_PREFETCH = 64


class _Lane:
    """The messages behind the place `cursor`, up to `end`, or (None) for ever."""

    def __init__(self, outbox: Outbox, cursor: int, end: int | None = None) -> None:
        self._outbox = outbox
        self._read = cursor
        self._end = end
        self._ready: deque[Kept] = deque()

    @property
    def cursor(self) -> int:
        """All messages up to this place were given out."""
        return self._ready[0].seq - 1 if self._ready else self._read

    def next(self) -> Kept | None:
        if not self._ready:
            # Before the look: what comes during it may be missed.
            end = self._outbox.last_seq if self._end is None else self._end
            if self._read < end:
                self._ready += self._outbox.take(self._read, upto=end, limit=_PREFETCH, max_bytes=_PREFETCH_BYTES)
                self._read = self._ready[-1].seq if self._ready else end
        return self._ready.popleft() if self._ready else None


class SendOrder:
    """What is to be sent next, each message once, and again after the outbox has lost its disk for a while.

    Usually there is one lane, in the order of arrival. When more than `backlog` messages have gathered, as after an
    outage, they become a lane of their own. From then on the two lanes take turns: a live face waits for one old one
    and not for all, and neither lane ever stands still for the other.
    """

    def __init__(self, outbox: Outbox, *, backlog: int) -> None:
        self._outbox = outbox
        self._backlog = backlog
        self._lives_turn = True
        self._start_over()

    def _start_over(self) -> None:
        self._openings = self._outbox.openings
        self._old: deque[_Lane] = deque()
        self._live = _Lane(self._outbox, 0)

    def next(self) -> Kept | None:
        """The next message, or None where all have been given out."""
        if self._openings != self._outbox.openings:
            self._start_over()
        # What is not on disk yet came a moment ago, and is live.
        settled = self._outbox.settled_seq
        if settled - self._live.cursor > self._backlog:
            # What was read ahead is read again when its turn comes: a lane that waits must not hold it in memory.
            self._old.append(_Lane(self._outbox, self._live.cursor, settled))
            self._live = _Lane(self._outbox, settled)
        self._lives_turn = not self._lives_turn
        if self._lives_turn:
            return self._live.next() or self._next_old()
        return self._next_old() or self._live.next()

    def _next_old(self) -> Kept | None:
        while self._old:
            if (kept := self._old[0].next()) is not None:
                return kept
            self._old.popleft()
        return None
