"""Writes an outbox's file: group commits within its bounds, and what to say when the disk refuses."""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock

from face_messages.outbox.database import Kept, OutboxFile, Totals, row_of

log = logging.getLogger(__name__)

# Bytes of the write-ahead log, which gets a quarter of the room at most, and of a commit, which gets a quarter of that.
LOG_BYTES = 64 * 1024 * 1024
_GROUP_BYTES = 8 * 1024 * 1024


class WhenFull(StrEnum):
    """What gives way when an outbox has used up its bytes."""

    REJECT_NEW = "reject-new"
    OVERWRITE_OLDEST = "overwrite-oldest"


@dataclass(slots=True)
class Outcome:
    """What a transaction did."""

    totals: Totals
    #: Messages that were written; those behind them found no room.
    written: int = 0
    confirmed: int = 0
    #: Ids of messages that went to make room, and of new dead letters.
    overwritten: list[bytes] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)


# SQLite's result codes for what passes: no space, or another program that has the file.
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Writer:
    """Commits to a file, which with its write-ahead log takes up `max_bytes` at most.

    Those who read the file hold `reading` meanwhile.
    """

    def __init__(self, *, max_bytes: int, when_full: WhenFull, reading: Lock) -> None:
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._reading = reading
        self._budget = self._log_room = self._group_bytes = self._room = 0
        self.totals = Totals(0, 0, 0)
        #: Why nothing can be written at present, or None.
        self.trouble: str | None = None

    def writes_to(self, file: OutboxFile) -> None:
        self._file = file
        self.totals = file.totals()

    def group_bytes(self) -> int:
        """Payload that the next commit may have, in bytes, unless it is a single message; asked before each commit."""
        self._budget = min(self._max_bytes, self._file.space())
        self._log_room = min(LOG_BYTES, self._budget // 4)
        self._room = self._budget - self._log_room
        self._group_bytes = min(_GROUP_BYTES, self._log_room // 4)
        return self._group_bytes

    def commit(
        self, group: Sequence[Kept], confirmed: Sequence[tuple[bytes, bool]], dead: Sequence[tuple[bytes, str]]
    ) -> Outcome | None:
        """Writes a group, lets go of confirmed messages and makes dead letters; None where there is no space for that.

        With each id in `confirmed` stands whether its row counts as confirmed now, with each in `dead` the reason.
        sqlite3.Error, OSError: the disk fails.
        """
        size = sum(kept.size for kept in group)
        # A message that is larger than a group has the log to itself.
        most = 0 if size > self._group_bytes else self._log_room - self._group_bytes
        self._room = self._budget - max(self._log_room, size + size // 8)
        outcome = None
        try:
            if not self._file.keep_log_short(most, lock=self._reading):
                self.say("the outbox cannot be written: another program has long been reading its file, end that one")
                return None
            outcome = self._transact(group, confirmed, dead)
            self._shrink()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                raise
            self.say(f"the outbox cannot be written ({error}): free space on its disk")
            # A disk that refuses new rows may yet let old ones go, which is what makes room.
            return self.commit([], confirmed, dead) if group and (confirmed or dead) else None
        if outcome.overwritten:
            self.say("the outbox is full: the newest messages overwrite the oldest")
        if outcome.written < len(group):
            what = "the outbox is full" if self._budget == self._max_bytes else "the outbox's disk is nearly full"
            self.say(f"{what}: it takes nothing until some of it is confirmed")
        return outcome

    def _transact(
        self, group: Sequence[Kept], confirmed: Sequence[tuple[bytes, bool]], dead: Sequence[tuple[bytes, str]]
    ) -> Outcome:
        outcome = Outcome(replace(self.totals))
        totals, counts, rows = outcome.totals, dict(confirmed), []
        with self._file.transaction():
            for message_id, cost, was_dead in self._file.delete(list(counts)):
                totals.less(cost, was_dead=was_dead)
                outcome.confirmed += counts[message_id]
            for kept in group:
                properties, cost = row_of(kept)
                while self._when_full is WhenFull.OVERWRITE_OLDEST and totals.bytes + cost > self._room:
                    if (oldest := self._file.delete_oldest()) is None:
                        break
                    outcome.overwritten.append(oldest[0])
                    totals.less(oldest[1], was_dead=oldest[2])
                if totals.bytes + cost > self._room:
                    break
                rows.append((kept, properties, cost))
                totals.bytes += cost
                totals.messages += 1
            self._file.insert_all(rows)
            outcome.written = len(rows)
            for message_id, reason in dead:
                if self._file.set_dead(message_id, reason):
                    outcome.dead.append(message_id)
                    totals.dead_letters += 1
                    totals.messages -= 1
        self.totals = totals
        return outcome

    def _shrink(self) -> None:
        try:
            self._file.keep_small(self.totals.bytes, lock=self._reading)
        except sqlite3.OperationalError as error:
            # A full disk refuses this as well, which needs room in the write-ahead log first. Nothing is lost by it.
            log.debug("the outbox's file stays as large as it is for now: %s", error)

    def caught_up(self) -> None:
        """Nothing is left to be written now."""
        if self.trouble is not None and self.totals.bytes < 0.9 * self._room:
            log.info("the outbox takes messages again")
            self.trouble = None

    def say(self, trouble: str) -> None:
        if self.trouble is None:
            log.error("%s", trouble)
        self.trouble = trouble
