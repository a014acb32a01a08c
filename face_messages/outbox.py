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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from pathlib import Path

from face_messages.event import new_id
from face_messages.message import Message
from face_messages.outbox_file import ROW_MARGIN, Kept, OutboxFile, cost_of, open_or_set_aside

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# Smaller files are not worth the work of giving their free pages back.
_SHRINK_BYTES = 32 * 1024 * 1024


class WhenFull(StrEnum):
    """What gives way when an outbox has used up its bytes."""

    REJECT_NEW = "reject-new"
    OVERWRITE_OLDEST = "overwrite-oldest"


class OutboxClosedError(RuntimeError):
    """The program was stopped before the outbox had taken the messages."""


class _Outcome(Enum):
    DONE = 1
    FULL = 2  # no room within max_bytes
    FAILED = 3  # the disk refused


@dataclass(frozen=True, slots=True)
class _Put:
    id: bytes
    message: Message
    done: Callable[[], None]
    cost: int


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
        self._writer = open_or_set_aside(path, wal_bytes=wal_room // 4)
        self._reader = OutboxFile(path, wal_bytes=wal_room // 4)
        self._reader_lock = threading.Lock()
        self._when_full = when_full
        self._totals = self._writer.totals()
        self._last_seq = self._writer.last_seq()
        self._largest = self._totals.bytes
        self._work = threading.Condition()
        self._puts: deque[_Put] = deque()
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
        with self._work:
            self._puts.append(_Put(message_id, message, done, cost_of(message_id, message)))
            self._work.notify()

    def put_and_wait(self, messages: Sequence[tuple[bytes, Message]], *, stop: threading.Event) -> None:
        """Returns when all are safe on disk, however long the outbox is full meanwhile.

        Raises:
            OutboxClosedError: `stop` was set first; some of the messages may not be kept.

        """
        safe = threading.Semaphore(0)
        for message_id, message in messages:
            self.put(message_id, message, safe.release)
        for _ in messages:
            while not safe.acquire(timeout=0.1):
                # What is merely in the queue is committed within moments; only a full outbox takes longer.
                if stop.is_set() and not safe.acquire(timeout=1.0):
                    raise OutboxClosedError("stopped while the outbox could take no more")

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
        with self._reader_lock:
            return self._reader.take(after, limit=limit, max_bytes=max_bytes)

    def get(self, seq: int) -> Kept | None:
        """The message at this place, unless it is gone or set aside."""
        kept = self.take(seq - 1, limit=1, max_bytes=1)
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
            if outcome is not _Outcome.DONE and not self._wait_for_room(outcome):
                return

    def _next_group(self) -> list[_Put]:
        group: list[_Put] = []
        size = 0
        while self._puts and size < self._group_bytes:
            group.append(self._puts.popleft())
            size += group[-1].cost
        return group

    def _wait_for_room(self, outcome: _Outcome) -> bool:
        """Discards make room, and end the wait; space on the disk comes back without a word. False to give up."""
        with self._work:
            room_may_be = outcome is _Outcome.FULL and self._discards
            if not room_may_be and not self._closing:
                self._work.wait(_RETRY_SECONDS)
            return not self._closing

    def _commit(self, puts: list[_Put], discards: list[bytes], asides: list[tuple[bytes, str]]) -> _Outcome:
        """Commits all of it if it can; what it cannot goes back in line."""
        try:
            safe, left, new = self._transaction(puts, discards, asides)
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
            return _Outcome.FAILED
        if new:
            self._last_seq = self._writer.last_seq()
            self.on_kept()
        for put in safe:
            put.done()
        if left:
            what = "the outbox is full" if self._room == self._row_bytes else "the outbox's disk is nearly full"
            self._say(f"{what}: it takes nothing until some of it is confirmed")
            with self._work:
                self._puts.extendleft(reversed(left))
            return _Outcome.FULL
        if self._trouble is not None and self._totals.bytes < 0.9 * self._room:
            log.info("the outbox takes messages again")
            self._trouble = None
        if not self._totals.messages and self._largest > _SHRINK_BYTES:
            self._largest = 0
            self._shrink()
        return _Outcome.DONE

    def _shrink(self) -> None:
        try:
            self._writer.shrink()
        except sqlite3.OperationalError as error:
            # A full disk refuses this as well, which needs room in the write-ahead log first. Nothing is lost by it.
            log.warning("the outbox is empty, but its file stays large for now: %s", error)

    def _transaction(
        self, puts: list[_Put], discards: list[bytes], asides: list[tuple[bytes, str]]
    ) -> tuple[list[_Put], list[_Put], int]:
        """One transaction: the puts that found room, those that did not, and how many rows are new."""
        file, totals, confirmed, overwritten, new = self._writer, replace(self._totals), 0, 0, 0
        # On a disk that is smaller than the outbox may get, discards need room in the write-ahead log all the same.
        room = self._room = min(self._row_bytes, file.capacity(reserve=self._wal_room))
        safe: list[_Put] = []
        left: list[_Put] = []
        with file.transaction():
            for message_id in discards:
                if (gone := file.delete(message_id)) is not None:
                    cost, was_aside = gone
                    totals.bytes -= cost
                    totals.aside -= was_aside
                    totals.messages -= not was_aside
                    confirmed += 1
            for message_id, reason in asides:
                if file.set_aside(message_id, reason):
                    totals.aside += 1
                    totals.messages -= 1
            for place, put in enumerate(puts):
                if put.cost > self._row_bytes:
                    # Never confirmed, so its sender still has it; those behind it must not wait for the impossible.
                    log.error("a message of %d bytes is larger than the whole outbox: not kept", put.message.size)
                    continue
                if totals.bytes + put.cost > room and file.holds(put.id, put.message):
                    safe.append(put)  # needs no room: its sender has missed the receipt, and that is all
                    continue
                while self._when_full is WhenFull.OVERWRITE_OLDEST and totals.bytes + put.cost > room:
                    if not (freed := file.delete_oldest()):
                        break
                    totals.bytes -= freed
                    totals.messages -= 1
                    overwritten += 1
                if totals.bytes + put.cost > room:
                    left = puts[place:]
                    break
                if self._insert(put):
                    totals.bytes += put.cost
                    totals.messages += 1
                    new += 1
                safe.append(put)
        self._totals = totals
        self._largest = max(self._largest, totals.bytes)
        self.confirmed += confirmed
        self.overwritten += overwritten
        if overwritten:
            self._say("the outbox is full: the newest messages overwrite the oldest")
        return safe, left, new

    def _insert(self, put: _Put) -> bool:
        """Whether a row was added; not so where this very message is held already."""
        message_id = put.id
        while not self._writer.insert(message_id, put.message, put.cost):
            if self._writer.holds(message_id, put.message):
                return False
            # Another message under an id that is taken: whatever its sender did wrong, it must neither
            # vanish nor replace the first. It goes on under an id of its own.
            message_id = new_id().encode()
        return True

    def _say(self, trouble: str) -> None:
        if self._trouble is None:
            log.error("%s", trouble)
        self._trouble = trouble
