"""Messages that came a moment ago, for a sender that would otherwise have to read them back from the disk."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from face_messages.outbox.database import Kept


class Fresh:
    """The latest messages of an outbox without a gap, each until it was given out; up to `max_bytes` of payload.

    Those that are not on disk are always here; of the others it is a short cut and no more.
    """

    def __init__(self, *, behind: int, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._messages: dict[bytes, Kept] = {}  # in their order
        self._bytes = 0
        #: All messages behind this place are here, but for those that were given out.
        self.behind = behind

    def add(self, messages: Iterable[Kept]) -> None:
        with self._lock:
            for kept in messages:
                self._messages[kept.id] = kept
                self._bytes += kept.size

    def forget(self, ids: Iterable[bytes]) -> None:
        """They are no longer to be sent."""
        with self._lock:
            for message_id in ids:
                if (kept := self._messages.pop(message_id, None)) is not None:
                    self._bytes -= kept.size

    def trim(self, settled_seq: int) -> None:
        """Where there is too much, leaves what is on disk, up to that place, to the disk."""
        with self._lock:
            if self._bytes > self._max_bytes:
                self._drop([kept for kept in self._messages.values() if kept.seq <= settled_seq])

    def take(self, after: int, *, upto: int, limit: int, max_bytes: int) -> list[Kept]:
        """The oldest messages behind the place `after` and not behind `upto`."""
        taken: list[Kept] = []
        passed: list[Kept] = []
        with self._lock:
            for kept in self._messages.values():
                if len(taken) == limit or max_bytes <= 0 or kept.seq > upto:
                    break
                passed.append(kept)
                if kept.seq > after:
                    taken.append(kept)
                    max_bytes -= kept.size
            self._drop(passed)
        return taken

    def _drop(self, messages: list[Kept]) -> None:
        for kept in messages:
            del self._messages[kept.id]
            self._bytes -= kept.size
        if messages:
            self.behind = max(self.behind, messages[-1].seq)
