"""Messages that were committed a moment ago, for a sender that would otherwise read them back from the disk."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from face_messages.outbox_file import Kept


class Fresh:
    """The latest messages of an outbox without a gap, up to `max_bytes` of payload.

    It is a short cut and no more: whoever asks for what is not in it any longer turns to the file.
    """

    def __init__(self, *, begins_behind: int, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._messages: dict[bytes, Kept] = {}  # in their order
        self._bytes = 0
        self._behind = begins_behind  # all messages behind this place are here

    def add(self, messages: Iterable[Kept], *, last_seq: int) -> None:
        with self._lock:
            for kept in messages:
                self._messages[kept.id] = kept
                self._bytes += kept.size
            if self._bytes > self._max_bytes:
                self._reset(last_seq)

    def forget(self, ids: Iterable[bytes]) -> None:
        """They are no longer to be sent."""
        with self._lock:
            for message_id in ids:
                if (kept := self._messages.pop(message_id, None)) is not None:
                    self._bytes -= kept.size

    def forget_all(self, *, last_seq: int) -> None:
        """What is here may no longer be in the file."""
        with self._lock:
            self._reset(last_seq)

    def take(self, after: int, *, limit: int, max_bytes: int) -> list[Kept] | None:
        """The oldest messages behind the place `after`, each given once; None where the file has to be asked."""
        taken: list[Kept] = []
        with self._lock:
            if after < self._behind:
                return None
            passed = []
            for kept in self._messages.values():
                if len(taken) == limit or max_bytes <= 0:
                    break
                passed.append(kept)
                if kept.seq > after:
                    taken.append(kept)
                    max_bytes -= kept.size
            for kept in passed:
                del self._messages[kept.id]
                self._bytes -= kept.size
                self._behind = kept.seq
        return taken

    def _reset(self, last_seq: int) -> None:
        self._messages.clear()
        self._bytes = 0
        self._behind = last_seq
