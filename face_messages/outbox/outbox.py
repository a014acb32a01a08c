"""The outbox: messages in custody until the next keeper has confirmed them.

One SQLite file in WAL mode. A single thread writes; it commits whatever has gathered meanwhile in one
transaction (group commit), so that a message costs a share of an fsync and not one of its own. With
`synchronous=FULL` a commit outlives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from face_messages.message import Message
from face_messages.outbox.commit import Limits, Outcome, WhenFull, commit
from face_messages.outbox.database import ROW_MARGIN, Kept, OutboxFile
from face_messages.outbox.files import claim, open_or_set_aside
from face_messages.outbox.fresh import Fresh
from face_messages.outbox.pending import NEVER, Pending, Put

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# Rows of confirmed messages go with the next commit, or with one of their own after this long.
_TIDY_SECONDS = 0.2
# The write-ahead log may have so much, and a quarter of what there is room for; a commit a quarter of that.
_LOG_BYTES = 64 * 1024 * 1024
_GROUP_BYTES = 8 * 1024 * 1024
_FRESH_BYTES = 8 * 1024 * 1024


class Outbox:
    """Keeps messages until they are discarded; an id is kept once.

    `put` returns at once, and its `done` is called, on the outbox's thread, when the message is safe: on disk or, for
    one that `may_wait`, at the next keeper already. Only then may its receipt be sent. While the outbox is full under
    `reject-new`, or the disk refuses, `done` is just not called yet: whoever handed the message over still holds it,
    and so on up the path.

    Args:
        path: the file; its folder is created. A damaged file is kept aside under a telling name.
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
        self._fresh = Fresh(behind=self._began, max_bytes=_FRESH_BYTES)
        self._intake = Pending(self._writer, self._fresh, largest=self.largest_message)
        self._work = threading.Condition()
        self._arrived: list[Put] = []
        self._confirmed: list[bytes] = []
        self._asides: list[tuple[bytes, str]] = []
        self._closing = self._closed = False
        # Ids of rows that may go and of those to be set aside, with the reason, and when that will be.
        self._tidy: list[bytes] = []
        self._refused: list[tuple[bytes, str]] = []
        self._tidy_at = NEVER
        self._trouble: str | None = None
        #: How long a message that `may_wait` does so, in seconds: its receipt is expected within that time.
        self.write_delay = 0.0
        #: Called on the outbox's thread when there is more to `take`.
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

        Args:
            may_wait: for one whose sender keeps it until `done`: it need not be written to disk while its receipt is
                expected within `patience`, and where the next keeper is quick it never is.

        """
        put = Put(message_id, message, [done], time.monotonic() + (self.write_delay if may_wait else 0.0))
        with self._work:
            self._arrived.append(put)
            self._work.notify()

    def discard(self, ids: Iterable[bytes]) -> None:
        """Lets go of confirmed messages. A crash that undoes it only causes a resend, so nobody waits for it."""
        with self._work:
            self._confirmed.extend(ids)
            self._work.notify()

    def dead_letter(self, message_id: bytes, reason: str) -> None:
        """Keeps a message that can never be delivered, but out of the way of those behind it."""
        with self._work:
            self._asides.append((message_id, reason))
            self._work.notify()

    def take(self, after: int, *, limit: int, max_bytes: int, upto: int | None = None) -> list[Kept]:
        """The oldest messages behind the place `after` (and not behind `upto`), in order; at least one if there is any.

        What is not on disk yet is given once; `get` has it as well, until it is discarded.
        """
        last = self.last_seq if upto is None else upto
        if after < (behind := self._fresh.behind):
            with self._reader_lock:
                kept = self._reader.take(after, upto=min(last, behind), limit=limit, max_bytes=max_bytes)
            if kept:
                return kept
        return self._fresh.take(after, upto=last, limit=limit, max_bytes=max_bytes)

    def get(self, message_id: bytes, seq: int) -> Kept | None:
        """This message at this place, unless it is gone or set aside."""
        # In this order: what is not waiting any more is on disk by then.
        if (kept := self._intake.get(message_id)) is not None:
            return kept
        with self._reader_lock:
            return next(iter(self._reader.take(seq - 1, upto=seq, limit=1, max_bytes=1)), None)

    def __len__(self) -> int:
        """Messages that are not confirmed, on disk or not, but for those set aside."""
        return self._totals.messages + len(self._intake) + len(self._arrived)

    @property
    def last_seq(self) -> int:
        """The place of the message that came last."""
        return self._intake.last_seq

    @property
    def settled_seq(self) -> int:
        """The place up to which all messages are on disk, or gone."""
        return self._intake.settled_seq

    @property
    def messages_on_disk(self) -> int:
        """Those set aside not counted."""
        return self._totals.messages

    @property
    def dead_letters(self) -> int:
        return self._totals.aside

    @property
    def bytes_used(self) -> int:
        """Bytes on disk that messages take up, those set aside included."""
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
        with self._work:
            self._closing = True
            self._work.notify()
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
        """Looks at what has come and writes what is due; False when it is over."""
        with self._work:
            while (idle := self._idle_seconds()) > 0:
                self._work.wait(None if idle == NEVER else idle)
            arrived, self._arrived = self._arrived, []
            confirmed, self._confirmed = self._confirmed, []
            asides, self._asides = self._asides, []
            closing = self._closing
        # One question for all of them, whose answer is nearly always no.
        on_disk = (self._totals.messages or self._totals.aside) and self._writer.holds_any([put.id for put in arrived])
        if self._intake.admit(arrived, all_new=not on_disk):
            self.on_kept()
        self._let_go(confirmed)
        now = time.monotonic()
        self._refused += asides
        if asides or closing:
            self._tidy_at = now
            self._intake.hurry()  # what is to be set aside may not have been written yet
        done = now < min(self._intake.due, self._tidy_at) or self._commit(now)
        return not closing or (done and len(self._intake) > 0)

    def _idle_seconds(self) -> float:
        if self._arrived or self._confirmed or self._asides or self._closing:
            return 0.0
        return min(self._intake.due, self._tidy_at) - time.monotonic()

    def _let_go(self, ids: list[bytes]) -> None:
        """What was never written is done with; the rows of the others go before long."""
        if not ids:
            return
        rows = self._intake.confirmed(ids)
        self.confirmed += len(ids) - len(rows)
        if rows:
            self._tidy += rows
            now = time.monotonic()
            self._tidy_at = min(self._tidy_at, now + _TIDY_SECONDS)
            if self._trouble is not None:  # they may make the room that others wait for
                self._tidy_at = self._intake.due = now

    def _commit(self, now: float, *, puts: bool = True) -> bool:
        """Commits all that is due if it can; what it cannot waits on."""
        budget = min(self.max_bytes, self._writer.space())
        log_room = min(_LOG_BYTES, budget // 4)
        group_bytes = min(_GROUP_BYTES, log_room // 4)
        group = self._intake.group(now, max_bytes=group_bytes) if puts else []
        size = sum(len(put.message.payload) for put in group)
        # A message that is larger than a group has the log to itself.
        most = 0 if size > group_bytes else log_room - group_bytes
        limits = Limits(budget - max(log_room, size + size // 8), self._when_full)
        try:
            if not self._writer.keep_log_short(most, lock=self._reader_lock):
                self._say("the outbox cannot be written: another program has long been reading its file, end that one")
                return self._try_again_later()
            outcome = commit(
                self._writer,
                puts=group,
                discards=self._tidy,
                asides=self._refused,
                totals=self._totals,
                limits=limits,
            )
        except sqlite3.OperationalError as error:
            self._say(f"the outbox cannot be written ({error}): free space on its disk")
            if group and (self._tidy or self._refused):
                # A disk that refuses new rows may yet let old ones go, which is what makes room.
                self._commit(now, puts=False)
            return self._try_again_later()
        self._tidy, self._refused, self._tidy_at = [], [], NEVER
        self._take_note(outcome)
        if outcome.left:
            what = "the outbox is full" if budget == self.max_bytes else "the outbox's disk is nearly full"
            self._say(f"{what}: it takes nothing until some of it is confirmed")
            return self._try_again_later()
        caught_up = self._intake.due > time.monotonic()
        if self._trouble is not None and caught_up and self._totals.bytes < 0.9 * limits.room:
            log.info("the outbox takes messages again")
            self._trouble = None
        return True

    def _try_again_later(self) -> bool:
        self._intake.due = time.monotonic() + _RETRY_SECONDS
        if self._tidy or self._refused:
            self._tidy_at = self._intake.due
        return False

    def _take_note(self, outcome: Outcome) -> None:
        self._totals = outcome.totals
        self.written += len(outcome.safe)
        self.confirmed += outcome.confirmed
        self.overwritten += len(outcome.overwritten)
        self._fresh.forget((*outcome.overwritten, *outcome.aside))
        if outcome.overwritten:
            self._say("the outbox is full: the newest messages overwrite the oldest")
        self._intake.written(outcome.safe)
        try:
            self._writer.keep_small(self._totals.bytes, lock=self._reader_lock)
        except sqlite3.OperationalError as error:
            # A full disk refuses this as well, which needs room in the write-ahead log first. Nothing is lost by it.
            log.debug("the outbox's file stays as large as it is for now: %s", error)

    def _say(self, trouble: str) -> None:
        if self._trouble is None:
            log.error("%s", trouble)
        self._trouble = trouble
