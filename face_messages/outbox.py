"""The outbox: messages in custody, on disk, until the next keeper has confirmed them.

One SQLite file in WAL mode. A single thread writes; it commits whatever has gathered meanwhile in one
transaction (group commit), so that a message costs a share of an fsync and not one of its own. With
`synchronous=FULL` a commit outlives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path

from face_messages.fresh import Fresh
from face_messages.message import Message
from face_messages.outbox_batch import Limits, Outcome, Put, WhenFull, commit
from face_messages.outbox_file import ROW_MARGIN, Kept, OutboxFile, cost_of, encoded, open_or_set_aside

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# Smaller files are not worth the work of giving their free pages back.
_SHRINK_BYTES = 32 * 1024 * 1024
_FRESH_BYTES = 8 * 1024 * 1024


class _Result(Enum):
    DONE = 1
    FULL = 2  # no room within max_bytes
    FAILED = 3  # the disk refused


class Outbox:
    """Keeps messages until they are discarded; an id is kept once.

    `put` returns at once, and its `done` is called, on the outbox's thread, when the message is on disk: only
    then may its receipt be sent. While the outbox is full under `reject-new`, or the disk refuses, `done` is
    just not called yet: whoever handed the message over still holds it, and so on up the path.

    Args:
        path: the file; its folder is created. A damaged file is kept aside under a telling name.
        max_bytes: what the file and its write-ahead log may take up together, in bytes.
        when_full: what gives way then.

    Raises:
        OSError: the file cannot be opened at present.

    """

    def __init__(self, path: Path, *, max_bytes: int, when_full: WhenFull = WhenFull.REJECT_NEW) -> None:
        wal_room = min(32 * 1024 * 1024, max_bytes // 4)
        self._row_bytes = self._room = max_bytes - wal_room
        self._wal_room = wal_room
        self._group_bytes = wal_room // 4
        self._writer = open_or_set_aside(path, wal_bytes=wal_room // 2)
        self._reader = OutboxFile(path, wal_bytes=wal_room // 2)
        self._reader_lock = threading.Lock()
        self._when_full = when_full
        self._totals = self._writer.totals()
        self._last_seq = self._writer.last_seq()
        self._fresh = Fresh(begins_behind=self._last_seq, max_bytes=_FRESH_BYTES)
        self._largest = self._totals.bytes
        self._work = threading.Condition()
        self._puts: deque[Put] = deque()
        self._discards: list[bytes] = []
        self._asides: list[tuple[bytes, str]] = []
        self._closing = False
        self._trouble: str | None = None
        #: Called on the outbox's thread when there is more to `take`.
        self.on_kept: Callable[[], None] = lambda: None
        #: Messages overwritten by newer ones since the start.
        self.overwritten = 0
        #: Messages discarded because the next keeper has them, since the start.
        self.confirmed = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def largest_message(self) -> int:
        """Bytes beyond which a message may not fit, however empty the outbox is."""
        return self._row_bytes - ROW_MARGIN

    def put(self, message_id: bytes, message: Message, done: Callable[[], None]) -> None:
        """Hands a message over; `done` is called once it is safe on disk (or was already)."""
        properties = encoded(message)
        put = Put(message_id, message, done, properties, cost_of(message_id, message, properties))
        with self._work:
            self._puts.append(put)
            self._work.notify()

    def discard(self, ids: Iterable[bytes]) -> None:
        """Lets go of confirmed messages. A crash that undoes it only causes a resend, so nobody waits for it."""
        with self._work:
            self._discards.extend(ids)
            self._work.notify()

    def set_aside(self, message_id: bytes, reason: str) -> None:
        """Keeps a message that can never be delivered, but out of the way of those behind it."""
        with self._work:
            self._asides.append((message_id, reason))
            self._work.notify()

    def take(self, after: int, *, limit: int, max_bytes: int) -> list[Kept]:
        """The oldest messages behind the place `after`, in order; at least one where there is any."""
        fresh = self._fresh.take(after, limit=limit, max_bytes=max_bytes)
        if fresh is not None:
            return fresh
        with self._reader_lock:
            return self._reader.take(after, limit=limit, max_bytes=max_bytes)

    def get(self, seq: int) -> Kept | None:
        """The message at this place, unless it is gone or set aside."""
        with self._reader_lock:
            kept = self._reader.take(seq - 1, limit=1, max_bytes=1)
        return kept[0] if kept and kept[0].seq == seq else None

    def __len__(self) -> int:
        return self._totals.messages

    @property
    def last_seq(self) -> int:
        """The place of the message that was kept last."""
        return self._last_seq

    @property
    def bytes_used(self) -> int:
        return self._totals.bytes

    @property
    def messages_aside(self) -> int:
        return self._totals.aside

    @property
    def trouble(self) -> str | None:
        """Why the outbox takes nothing at present, or None."""
        return self._trouble

    def oldest_age(self) -> float:
        """Seconds since the oldest message was kept, by the wall clock; 0 where there is none."""
        with self._reader_lock:
            kept_at = self._reader.oldest_kept_at()
        return 0.0 if kept_at is None else max(0.0, time.time() - kept_at)

    def close(self) -> None:
        """Commits what still fits, and ends. What was put and not reported as done may not be kept."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()
        with self._reader_lock:
            self._reader.close()
        self._writer.close()

    # -- the thread that writes ---------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._work:
                while not (self._puts or self._discards or self._asides or self._closing):
                    self._work.wait()
                if self._closing and not (self._puts or self._discards or self._asides):
                    return
                puts = self._next_group()
                discards, self._discards = self._discards, []
                asides, self._asides = self._asides, []
            outcome = self._commit(puts, discards, asides)
            if outcome is not _Result.DONE and not self._wait_for_room(outcome):
                return

    def _next_group(self) -> list[Put]:
        group: list[Put] = []
        size = 0
        while self._puts and size < self._group_bytes:
            group.append(self._puts.popleft())
            size += group[-1].cost
        return group

    def _wait_for_room(self, outcome: _Result) -> bool:
        """Discards make room, and end the wait; space on the disk comes back without a word. False to give up."""
        with self._work:
            room_may_be = outcome is _Result.FULL and self._discards
            if not room_may_be and not self._closing:
                self._work.wait(_RETRY_SECONDS)
            return not self._closing

    def _commit(self, puts: list[Put], discards: list[bytes], asides: list[tuple[bytes, str]]) -> _Result:
        """Commits all of it if it can; what it cannot goes back in line."""
        # On a disk that is smaller than the outbox may get, discards need room in the write-ahead log all the same.
        self._room = min(self._row_bytes, self._writer.capacity(reserve=self._wal_room))
        limits = Limits(self._room, self._row_bytes, self._when_full)
        try:
            outcome = commit(
                self._writer, puts=puts, discards=discards, asides=asides, totals=self._totals, limits=limits
            )
        except sqlite3.OperationalError as error:
            self._say(f"the outbox cannot be written ({error}): free space on its disk")
            if puts and (discards or asides):
                # A disk that refuses new rows may yet let old ones go, which is what makes room.
                self._commit([], discards, asides)
                discards, asides = [], []
            with self._work:
                self._puts.extendleft(reversed(puts))
                self._discards[:0] = discards
                self._asides[:0] = asides
            return _Result.FAILED
        self._fresh.forget(discards)
        self._fresh.forget(message_id for message_id, _ in asides)
        self._take_note(outcome)
        for put in outcome.safe:
            put.done()
        if outcome.left:
            what = "the outbox is full" if self._room == self._row_bytes else "the outbox's disk is nearly full"
            self._say(f"{what}: it takes nothing until some of it is confirmed")
            with self._work:
                self._puts.extendleft(reversed(outcome.left))
            return _Result.FULL
        if self._trouble is not None and self._totals.bytes < 0.9 * self._room:
            log.info("the outbox takes messages again")
            self._trouble = None
        if not self._totals.messages and self._largest > _SHRINK_BYTES:
            self._largest = 0
            self._shrink()
        return _Result.DONE

    def _take_note(self, outcome: Outcome) -> None:
        self._totals = outcome.totals
        self._largest = max(self._largest, outcome.totals.bytes)
        self.confirmed += outcome.confirmed
        self.overwritten += outcome.overwritten
        if outcome.kept:
            self._last_seq = outcome.kept[-1].seq
        if outcome.overwritten:
            self._fresh.forget_all(last_seq=self._last_seq)
            self._say("the outbox is full: the newest messages overwrite the oldest")
        else:
            self._fresh.add(outcome.kept, last_seq=self._last_seq)
        if outcome.kept:
            self.on_kept()

    def _shrink(self) -> None:
        try:
            self._writer.shrink()
        except sqlite3.OperationalError as error:
            # A full disk refuses this as well, which needs room in the write-ahead log first. Nothing is lost by it.
            log.warning("the outbox is empty, but its file stays large for now: %s", error)

    def _say(self, trouble: str) -> None:
        if self._trouble is None:
            log.error("%s", trouble)
        self._trouble = trouble
