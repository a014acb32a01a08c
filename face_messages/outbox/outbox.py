"""The outbox: messages in custody until the next keeper has confirmed them.

A message is in memory (`Pending`) until it is on disk: one SQLite file in WAL mode. A single thread writes; it commits
whatever has gathered meanwhile in one transaction (group commit), so that a message costs a share of an fsync and not
one of its own. With `synchronous=FULL` a commit outlives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from face_messages.event import new_id
from face_messages.message import Message
from face_messages.outbox.commit import Outcome, WhenFull, commit
from face_messages.outbox.database import ROW_MARGIN, Kept, OutboxFile
from face_messages.outbox.files import claim, open_or_set_aside
from face_messages.outbox.pending import NEVER, Pending, Put

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# Rows of confirmed messages go with the next commit, or with one of their own after this long.
_TIDY_SECONDS = 0.2
# The write-ahead log may have so much, and a quarter of what there is room for; a commit a quarter of that.
_LOG_BYTES = 64 * 1024 * 1024
_GROUP_BYTES = 8 * 1024 * 1024
_CACHE_BYTES = 8 * 1024 * 1024


class Outbox:
    """Keeps messages until they are discarded; an id is kept once.

    `put` returns at once, and its `done` is called, on some thread, when the message is safe: on disk or, for one that
    `may_wait`, at the next keeper already. Only then may its receipt be sent. While the outbox is full under
    `reject-new`, or the disk refuses, `done` is just not called yet: whoever handed the message over still holds it,
    and so on up the path.

    Args:
        path: the file; its folder is created. A damaged file is kept under a telling name.
        max_bytes: what the file and its write-ahead log may take up together, in bytes.
        when_full: what gives way then.

    Raises:
        OSError: the file cannot be opened at present, or another program has it.

    """

    def __init__(self, path: Path, *, max_bytes: int, when_full: WhenFull = WhenFull.REJECT_NEW) -> None:
        #: What it may take up on disk, in bytes.
        self.max_bytes = max_bytes
        self._when_full = when_full
        self._claim = claim(path)
        try:
            self._writer = open_or_set_aside(path, log_bytes=min(_LOG_BYTES, max_bytes // 4) // 2)
            self._reader = OutboxFile(path)
        except BaseException:
            self._claim.close()
            raise
        self._reader_lock = threading.Lock()
        self._totals = self._writer.totals()
        self._began, self._began_at = self._writer.last_seq(), time.monotonic()
        # For all that follows. The writing thread waits for it.
        self._lock = threading.Condition()
        self._pending = Pending(self._began, rows=self._totals.rows, cache_bytes=_CACHE_BYTES)
        # Ids of rows that may go and of messages that become dead letters, with the reason, and when that will be.
        self._confirmed: list[bytes] = []
        self._dead: list[tuple[bytes, str]] = []
        self._tidy_at = NEVER
        # When the first pending message has to be on disk.
        self._due = NEVER
        # The last place that is being written, and messages up to there that were confirmed meanwhile.
        self._writing = 0
        self._overtaken: list[Put] = []
        self._closing = self._closed = False
        self._trouble: str | None = None
        #: How long a message that `may_wait` does so, in seconds: its receipt is expected within that time.
        self.write_delay = 0.0
        #: Called on the thread that put a message, when there is more to `take`.
        self.on_kept: Callable[[], None] = lambda: None
        #: Since the start: messages written to disk, overwritten there by newer ones, and confirmed by the next keeper.
        self.written = 0
        self.overwritten = 0
        self.confirmed = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def largest_message(self) -> int:
        """Bytes beyond which a message may not fit, however empty the outbox is: it is in the log first, then a row."""
        return self.max_bytes // 2 - ROW_MARGIN

    def put(self, message_id: bytes, message: Message, done: Callable[[], None], *, may_wait: bool = False) -> None:
        """Hands a message over; `done` is called once it is safe (or was already).

        One thread puts all messages.

        Args:
            may_wait: for one whose sender keeps it until `done`: it need not be written to disk while its receipt is
                expected within `write_delay`, and where the next keeper is quick it never is.

        """
        if message.size > self.largest_message:
            # Never confirmed, so its sender still has it; those behind it must not wait for the impossible.
            log.error("a message of %d bytes is larger than the whole outbox: not kept", message.size)
            return
        with self._lock:
            twin: Kept | None = self._pending.get(message_id)
            if isinstance(twin, Put) and self._pending.is_unsettled(message_id) and _alike(twin.message, message):
                twin.reports.append(done)
                return
            look = twin is None and (self._totals.dead_letters or self._pending.may_be_on_disk(message_id))
        if look:
            with self._reader_lock:
                twin = self._reader.find(message_id)
        if twin is not None:
            if _alike(twin.message, message):
                done()  # its sender has missed the receipt, and that is all
                return
            # Another message under an id that is taken: whatever its sender did wrong, it must neither
            # vanish nor replace the first. It goes on under an id of its own.
            message_id = new_id().encode()
        due = time.monotonic() + (self.write_delay if may_wait else 0.0)
        with self._lock:
            self._pending.add(Put(0, message_id, message, [done], due))
            if due < self._due:
                self._due = due
                self._lock.notify()
        self.on_kept()

    def discard(self, ids: Iterable[bytes]) -> None:
        """Lets go of confirmed messages. A crash that undoes it only causes a resend, so nobody waits for it."""
        safe: list[Put] = []
        with self._lock:
            for message_id in ids:
                settled = self._pending.settled_seq
                put = self._pending.remove(message_id)
                if put is None or put.seq <= settled:
                    self._confirmed.append(message_id)
                    continue
                safe.append(put)
                if put.seq <= self._writing:
                    self._overtaken.append(put)
                else:
                    self.confirmed += 1  # and need not be written any more
            if self._confirmed and self._trouble is not None:  # they may make the room that others wait for
                self._due = 0.0
                self._tidy(0.0)
            elif self._confirmed:
                self._tidy(_TIDY_SECONDS)
        for put in safe:
            put.report()

    def dead_letter(self, message_id: bytes, reason: str) -> None:
        """Keeps a message that can never be delivered, but out of the way of those behind it."""
        with self._lock:
            self._dead.append((message_id, reason))
            if (put := self._pending.get(message_id)) is not None:
                put.due = self._due = 0.0  # it has to be on disk for that
            self._tidy(0.0)

    def take(self, after: int, *, limit: int, max_bytes: int, upto: int | None = None) -> list[Kept]:
        """The oldest messages behind the place `after` (and not behind `upto`), in order; at least one if there is any.

        `get` has them as well, until they are discarded.
        """
        upto = self.last_seq if upto is None else upto
        while after < upto:
            with self._lock:
                in_memory = self._pending.complete_after
                if after >= in_memory:
                    return self._pending.take(after, upto=upto, limit=limit, max_bytes=max_bytes)
            with self._reader_lock:
                kept = self._reader.take(after, upto=min(upto, in_memory), limit=limit, max_bytes=max_bytes)
            if kept:
                return kept
            after = in_memory
        return []

    def get(self, message_id: bytes, seq: int) -> Kept | None:
        """This message at this place, unless it is gone or a dead letter."""
        with self._lock:
            if (put := self._pending.get(message_id)) is not None:
                return put
        with self._reader_lock:
            return next(iter(self._reader.take(seq - 1, upto=seq, limit=1, max_bytes=1)), None)

    def __len__(self) -> int:
        """Messages that are not confirmed, on disk or not, but for dead letters."""
        with self._lock:
            return self._totals.messages + len(self._pending)

    @property
    def last_seq(self) -> int:
        """The place of the message that came last."""
        return self._pending.last_seq

    @property
    def settled_seq(self) -> int:
        """The place up to which all messages are on disk, or gone."""
        return self._pending.settled_seq

    @property
    def messages_on_disk(self) -> int:
        """Dead letters not counted."""
        return self._totals.messages

    @property
    def dead_letters(self) -> int:
        return self._totals.dead_letters

    @property
    def bytes_used(self) -> int:
        """Bytes on disk that messages take up, dead letters included."""
        return self._totals.bytes

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written to the outbox at present, or None."""
        return self._trouble

    def oldest_age(self) -> float:
        """Seconds since the oldest message on disk was kept; 0 where there is none.

        For those of this run it is at most, and for earlier ones at least, what the monotonic clock tells: the wall
        clock of a device without a battery jumps by years.
        """
        with self._reader_lock:
            oldest = None if self._closed else self._reader.oldest()  # whoever asks for figures may be late
        if oldest is None:
            return 0.0
        seq, kept_at = oldest
        age, running = max(0.0, time.time() - kept_at), time.monotonic() - self._began_at
        return min(age, running) if seq > self._began else max(age, running)

    def close(self) -> None:
        """Commits what still fits, and ends. What was put and not reported as done may not be kept."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()
        with self._reader_lock:
            self._closed = True
            self._reader.close()
        self._writer.close()
        self._claim.close()

    # -- the thread that writes ---------------------------------------------------------------

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Waits until something has to be written, and writes it; False when it is over."""
        with self._lock:
            while not self._closing and (idle := min(self._due, self._tidy_at) - time.monotonic()) > 0:
                self._lock.wait(None if idle == NEVER else idle)
            closing = self._closing
            if closing:
                self._due = 0.0
        done = self._commit(closing=closing)
        return not closing or (done and len(self._pending) > 0)

    def _tidy(self, seconds: float) -> None:
        """Rows go, and messages become dead letters, within so many seconds. Called with the lock held."""
        at = time.monotonic() + seconds
        if at < self._tidy_at:
            self._tidy_at = at
            self._lock.notify()

    def _commit(self, *, closing: bool, puts: bool = True) -> bool:
        """Commits all that is due if it can; what it cannot waits on."""
        budget = min(self.max_bytes, self._writer.space())
        log_room = min(_LOG_BYTES, budget // 4)
        group_bytes = min(_GROUP_BYTES, log_room // 4)
        with self._lock:
            group = self._group(group_bytes, closing=closing) if puts else []
            confirmed, dead = list(self._confirmed), list(self._dead)
            self._writing = group[-1].seq if group else 0
        if not group and not confirmed and not dead:
            return True
        size = sum(put.size for put in group)
        # A message that is larger than a group has the log to itself.
        most = 0 if size > group_bytes else log_room - group_bytes
        room = budget - max(log_room, size + size // 8)
        try:
            if not self._writer.keep_log_short(most, lock=self._reader_lock):
                self._say("the outbox cannot be written: another program has long been reading its file, end that one")
                return self._try_again_later()
            outcome = commit(
                self._writer,
                self._totals,
                group=group,
                confirmed=confirmed,
                dead=dead,
                room=room,
                when_full=self._when_full,
            )
        except sqlite3.OperationalError as error:
            self._say(f"the outbox cannot be written ({error}): free space on its disk")
            if group and (confirmed or dead):
                # A disk that refuses new rows may yet let old ones go, which is what makes room.
                self._commit(closing=closing, puts=False)
            return self._try_again_later()
        self._take_note(outcome, group, len(confirmed), len(dead))
        if outcome.written < len(group):
            what = "the outbox is full" if budget == self.max_bytes else "the outbox's disk is nearly full"
            self._say(f"{what}: it takes nothing until some of it is confirmed")
            return self._try_again_later()
        caught_up = self._due > time.monotonic()
        if self._trouble is not None and caught_up and self._totals.bytes < 0.9 * room:
            log.info("the outbox takes messages again")
            self._trouble = None
        return True

    def _group(self, max_bytes: int, *, closing: bool) -> list[Put]:
        """Those to write now, if any are due; the others come with them, as that costs little more.

        At most `max_bytes` of payload, or a single larger message.
        """
        now = time.monotonic()
        if now < self._due:
            return []
        self._due = min((put.due for put in self._pending.unsettled()), default=NEVER)
        if now < self._due and not closing:  # what was due was confirmed meanwhile
            return []
        group: list[Put] = []
        for put in self._pending.unsettled():
            max_bytes -= put.size
            if group and max_bytes < 0:
                break
            group.append(put)
        return group

    def _try_again_later(self) -> bool:
        with self._lock:
            self._writing_ended(0)
            self._due = time.monotonic() + _RETRY_SECONDS
            self._tidy_at = self._due if self._confirmed or self._dead else NEVER
        return False

    def _writing_ended(self, last: int) -> None:
        """All up to the place `last` are on disk now. Called with the lock held."""
        self._writing = 0
        for put in self._overtaken:
            if put.seq <= last:
                self._confirmed.append(put.id)  # its row has to go
            else:
                self.confirmed += 1
        self._overtaken.clear()

    def _take_note(self, outcome: Outcome, group: list[Put], confirmed: int, dead: int) -> None:
        safe = group[: outcome.written]
        with self._lock:
            last = safe[-1].seq if safe else 0
            safe = [put for put in safe if self._pending.get(put.id) is put]
            self._writing_ended(last)
            self._totals = outcome.totals
            self._pending.settle(last, rows=self._totals.rows)
            for message_id in (*outcome.overwritten, *outcome.dead):
                self._pending.remove(message_id)
            del self._confirmed[:confirmed]
            # Not on disk yet, and so no dead letters yet, are those that were not part of the group.
            self._dead[:dead] = [each for each in self._dead[:dead] if self._pending.is_unsettled(each[0])]
            self._tidy_at = time.monotonic() + _TIDY_SECONDS if self._confirmed or self._dead else NEVER
            self._due = min((put.due for put in self._pending.unsettled()), default=NEVER)
        self.written += outcome.written
        self.confirmed += outcome.confirmed
        self.overwritten += len(outcome.overwritten)
        if outcome.overwritten:
            self._say("the outbox is full: the newest messages overwrite the oldest")
        for put in safe:
            put.report()
        try:
            self._writer.keep_small(self._totals.bytes, lock=self._reader_lock)
        except sqlite3.OperationalError as error:
            # A full disk refuses this as well, which needs room in the write-ahead log first. Nothing is lost by it.
            log.debug("the outbox's file stays as large as it is for now: %s", error)

    def _say(self, trouble: str) -> None:
        if self._trouble is None:
            log.error("%s", trouble)
        self._trouble = trouble


def _alike(one: Message, other: Message) -> bool:
    """Whether the two are the same as far as an outbox keeps them."""
    return (one.payload, one.topic, one.content_type, one.user_properties) == (
        other.payload,
        other.topic,
        other.content_type,
        other.user_properties,
    )
