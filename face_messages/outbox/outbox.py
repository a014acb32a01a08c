"""The outbox: messages in custody until the next keeper has confirmed them.

A message is in memory (`Pending`) until it is on disk, in one SQLite file in WAL mode. A single thread writes. It
commits what has gathered meanwhile in one transaction (group commit): a message costs a share of an fsync. With
`synchronous=FULL` a commit outlives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from face_messages.event import new_id
from face_messages.message import Message
from face_messages.outbox.database import ROW_MARGIN, Kept, OutboxFile
from face_messages.outbox.disk import BROKEN, LOOK_SECONDS, Disk
from face_messages.outbox.files import OutboxInUseError
from face_messages.outbox.pending import NEVER, Pending, Put
from face_messages.outbox.writer import LOG_BYTES, Outcome, WhenFull, Writer

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# Rows of confirmed messages go with the next commit, or with one of their own after this long.
_TIDY_SECONDS = 0.2
_CACHE_BYTES = 8 * 1024 * 1024

_MEANWHILE = "Meanwhile messages are passed on from memory, and their senders keep them"
_BROKEN = f"the outbox cannot be written: free space on its disk, or mend it ({{}}). {_MEANWHILE}"


class Outbox:
    """Keeps messages until they are discarded; an id is kept once.

    While the outbox is full under `reject-new`, or the disk refuses, no message is reported as safe: its sender
    still holds it, and so on up the path.

    Args:
        path: the file; its folder is created. A damaged one is kept under a telling name. One that cannot be opened
            at present is opened when its disk is there; until then the outbox is in memory alone.
        max_bytes: what the file and its write-ahead log may take up together, in bytes.
        when_full: what gives way then.

    OutboxInUseError: another program has it.
    """

    def __init__(self, path: Path, *, max_bytes: int, when_full: WhenFull = WhenFull.REJECT_NEW) -> None:
        #: What it may take up on disk, in bytes.
        self.max_bytes = max_bytes
        #: Bytes beyond which a message may not fit, however empty the outbox is: it is in the log first, then a row.
        self.largest_message = max_bytes // 2 - ROW_MARGIN
        self._disk = Disk(path, log_bytes=min(LOG_BYTES, max_bytes // 4) // 2, on_failure=self._reading_failed)
        self._writer = Writer(max_bytes=max_bytes, when_full=when_full, reading=self._disk.reading)
        # For all that follows. The writing thread waits for the change.
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        #: What is on disk.
        self.totals = self._writer.totals
        self._pending = Pending(0, rows=0, cache_bytes=_CACHE_BYTES)
        #: How often the file was opened. Each time the places of all messages are void.
        self.openings = 0
        self._writing = 0  # the place up to which messages are being written
        # Ids whose rows may go, and whether these are yet to be counted; new dead letters with the reason; when.
        self._confirmed: list[tuple[bytes, bool]] = []
        self._dead: list[tuple[bytes, str]] = []
        self._tidy_at = NEVER
        self._closing = False
        #: How long a message that `may_wait` does so, in seconds: its receipt is expected within that time.
        self.write_delay = 0.0
        #: How long any message waits for others that are written with it, in seconds.
        self.gather_delay = 0.0
        #: Called in the thread that put a message, when there is more to `take`.
        self.on_kept: Callable[[], None] = lambda: None
        #: Since the start: messages written to disk, overwritten there by newer ones, and confirmed by the next keeper.
        self.written = self.overwritten = self.confirmed = 0
        try:
            self._disk.open()
            self._adopt()
        except OutboxInUseError:
            raise
        except BROKEN as error:
            self._disk.fails(error)
            self._writer.say(f"OUTBOX_PATH cannot be used ({error}): free space or give access. {_MEANWHILE}")
            self._pending.due = 0.0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message_id: bytes, message: Message, done: Callable[[], None], *, may_wait: bool = False) -> None:
        """Hands a message over and returns at once; one thread puts all messages.

        Args:
            done: called, in some thread, when the message is safe: on disk, or, for one that `may_wait`, at the next
                keeper already. Only then may its receipt be sent.
            may_wait: for one whose sender keeps it until `done`: it need not be written to disk while its receipt is
                expected within `write_delay`, and where the next keeper is quick it never is.
        """
        if message.size > self.largest_message:
            # Never confirmed, so its sender still has it; those behind it must not wait for the impossible.
            log.error("a message of %d bytes is larger than the whole outbox: not kept", message.size)
            return
        with self._lock:
            pending = self._pending.get(message_id)
            if pending is not None and self._pending.is_unsettled(message_id) and pending.holds(message):
                pending.reports.append(done)
                return
            look = pending is None and (self.totals.dead_letters or self._pending.may_be_on_disk(message_id))
        twin = self._disk.read(lambda file: file.find(message_id), None) if look else pending
        if twin is not None and twin.holds(message):
            done()  # its sender has missed the receipt, and that is all
            return
        if twin is not None:
            # Another message under an id that is taken: whatever its sender did wrong, it must neither
            # vanish nor replace the first. It goes on under an id of its own.
            message_id = new_id().encode()
        due = time.monotonic() + max(self.gather_delay, self.write_delay if may_wait else 0.0)
        with self._lock:
            if self._pending.add(Put(0, message_id, message, [done], due)):
                self._change.notify()
        self.on_kept()

    def discard(self, ids: Iterable[bytes]) -> None:
        """Lets go of confirmed messages. A crash that undoes it only causes a resend, so nobody waits for it."""
        safe: list[Put] = []
        with self._lock:
            for message_id in ids:
                is_waiting = self._pending.is_unsettled(message_id)
                put = self._pending.remove(message_id)
                if is_waiting and put is not None:  # need not be written any more, unless that is being done
                    safe.append(put)
                if not is_waiting or (put is not None and put.seq <= self._writing):
                    self._confirmed.append((message_id, not is_waiting))
            self.confirmed += len(safe)
            if self._confirmed and self._writer.trouble is not None:  # they may make the room that others wait for
                self._pending.due = 0.0
                self._tidy_within(0.0)
            elif self._confirmed:
                self._tidy_within(_TIDY_SECONDS)
        for put in safe:
            put.report()

    def dead_letter(self, message_id: bytes, reason: str) -> None:
        """Keeps a message that can never be delivered, but out of the way of those behind it."""
        with self._lock:
            self._dead.append((message_id, reason))
            if (put := self._pending.get(message_id)) is not None:
                put.due = self._pending.due = 0.0  # it has to be on disk for that
            self._tidy_within(0.0)

    def _tidy_within(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if at < self._tidy_at:
            self._tidy_at = at
            self._change.notify()

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
            on_disk = partial(OutboxFile.take, after=after, upto=min(upto, in_memory), limit=limit, max_bytes=max_bytes)
            if kept := self._disk.read(on_disk, list[Kept]()):
                return kept
            after = in_memory
        return []

    def get(self, message_id: bytes, seq: int) -> Kept | None:
        """This message at this place, unless it is gone or a dead letter."""
        with self._lock:
            if (put := self._pending.get(message_id)) is not None:
                return put
        taken = self._disk.read(lambda file: file.take(seq - 1, upto=seq, limit=1, max_bytes=1), list[Kept]())
        return taken[0] if taken and taken[0].id == message_id else None

    def __len__(self) -> int:
        """Messages that are not confirmed, on disk or not, but for dead letters."""
        with self._lock:
            return self.totals.messages + len(self._pending)

    @property
    def last_seq(self) -> int:
        """The place of the message that came last."""
        return self._pending.last_seq

    @property
    def settled_seq(self) -> int:
        """The place up to which all messages are on disk, or gone."""
        return self._pending.settled_seq

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written to the outbox at present, or None."""
        return self._writer.trouble

    @property
    def disk_works(self) -> bool:
        """False while the file cannot be read or written. A disk that is only full works."""
        return self._disk.works

    def oldest_age(self) -> float:
        """Seconds since the oldest message on disk was kept; 0 where there is none."""
        return self._disk.oldest_age()

    def close(self) -> None:
        """Commits what still fits, and ends. What was put and not reported as done may not be kept."""
        with self._lock:
            self._closing = True
            self._change.notify()
        self._thread.join()
        self._disk.close()

    # -- the thread that writes ---------------------------------------------------------------

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Waits until something has to be written, or looked at, and does it; False when it is over."""
        with self._lock:
            if not self._closing and (idle := min(self._pending.due, self._tidy_at) - time.monotonic()) > 0:
                self._change.wait(min(idle, LOOK_SECONDS))
            closing = self._closing
        try:
            is_done = self._disk.is_ready() and self._write(closing=closing)
        except BROKEN as error:
            self._writer.say(_BROKEN.format(error))
            self._disk.fails(error)
            is_done = False
            if len(dict(self._confirmed)) >= self.totals.messages:
                self._disk.close()  # nothing is left to be read from it, and it can be unmounted
        with self._lock:
            self._writing = 0
            now = time.monotonic()
            if not is_done:
                self._pending.due = now + _RETRY_SECONDS
                self._tidy_at = self._pending.due if self._confirmed or self._dead else NEVER
            elif self._pending.due > now:
                self._writer.caught_up()
            return not closing or (is_done and len(self._pending) > 0)

    def _write(self, *, closing: bool) -> bool:
        """Writes what is due; whether that is all."""
        if self.openings != self._disk.openings:
            self._adopt()
            self.on_kept()
        group_bytes = self._writer.group_bytes()
        with self._lock:
            if (now := time.monotonic()) >= self._pending.due:
                self._pending.look_when_due()  # what was due may have been confirmed
            # Where one is due all others come with it: that costs little more.
            group = self._pending.group(group_bytes) if closing or now >= self._pending.due else []
            tidy = bool(group) or closing or now >= self._tidy_at
            confirmed, dead = (list(self._confirmed), list(self._dead)) if tidy else ([], [])
            self._writing = group[-1].seq if group else 0
        if not group and not confirmed and not dead:
            return True
        outcome = self._writer.commit(group, confirmed, dead)
        if outcome is not None:
            self._take_note(outcome, group, len(confirmed), len(dead))
        return outcome is not None and outcome.written == len(group)

    def _adopt(self) -> None:
        """The file was opened: finds out which of the messages in memory it holds, and gives the others new places."""
        self._writer.writes_to(self._disk.writing)
        with self._lock:
            self._pending, safe = self._pending.behind(self._disk.writing, rows=self._writer.totals.rows)
            self.totals, self.openings = self._writer.totals, self._disk.openings
        for put in safe:
            put.report()

    def _reading_failed(self, error: Exception) -> None:
        self._writer.say(_BROKEN.format(error))
        with self._lock:
            self._pending.due = 0.0
            self._change.notify()

    def _take_note(self, outcome: Outcome, group: list[Put], confirmed: int, dead: int) -> None:
        written = group[: outcome.written]
        with self._lock:
            safe = [put for put in written if self._pending.get(put.id) is put]  # the others were confirmed meanwhile
            self.totals = outcome.totals
            self._pending.settle(written[-1].seq if written else 0, rows=self.totals.rows)
            for message_id in (*outcome.overwritten, *outcome.dead):
                self._pending.remove(message_id)
            del self._confirmed[:confirmed]
            # One that did not fit into the group is no dead letter yet.
            self._dead[:dead] = [each for each in self._dead[:dead] if self._pending.is_unsettled(each[0])]
            self._tidy_at = time.monotonic() + _TIDY_SECONDS if self._confirmed or self._dead else NEVER
            self._pending.look_when_due()
            self.written += outcome.written
            self.confirmed += outcome.confirmed
            self.overwritten += len(outcome.overwritten)
        for put in safe:
            put.report()
