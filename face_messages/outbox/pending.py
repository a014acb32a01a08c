"""Messages that came to an outbox and are not on its disk: which of them are new, and when they have to be there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from face_messages.event import new_id
from face_messages.message import Message
from face_messages.outbox.database import Kept, OutboxFile, alike
from face_messages.outbox.fresh import Fresh

log = logging.getLogger(__name__)

NEVER = float("inf")


@dataclass(slots=True)
class Put:
    """A message that was handed over; its reports are called when it is safe.

    `due` is when it has to be on disk (monotonic seconds), `seq` its place once it was looked at.
    """

    id: bytes
    message: Message
    reports: list[Callable[[], None]]
    due: float
    seq: int = 0

    def report(self) -> None:
        for report in self.reports:
            report()


class Pending:
    """Gives messages their places and hands them to the sender at once, whether or not they are on disk yet.

    Used by the outbox's thread, but for `get`, `last_seq` and `settled_seq`.

    Args:
        file: what is on disk.
        fresh: from where the sender takes them.
        largest: bytes of a message beyond which it may not fit.

    """

    def __init__(self, file: OutboxFile, fresh: Fresh, *, largest: int) -> None:
        self._file = file
        self._fresh = fresh
        self._largest = largest
        self._waiting: dict[bytes, Put] = {}  # in their order
        #: The place of the message that came last.
        self.last_seq = file.last_seq()
        #: The place up to which all messages are on disk, or gone.
        self.settled_seq = self.last_seq
        #: When the first of them has to be on disk (monotonic seconds).
        self.due = NEVER

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, message_id: bytes) -> Kept | None:
        put = self._waiting.get(message_id)
        return None if put is None else Kept(put.seq, put.id, put.message)

    def admit(self, puts: Iterable[Put], *, all_new: bool) -> bool:
        """Takes in what is not held already, here or on disk. Whether there was any.

        Args:
            all_new: none of their ids can be on disk.

        Raises:
            sqlite3.OperationalError: the disk cannot be read; what was not looked at was not taken in.

        """
        new: list[Kept] = []
        for put in puts:
            if not self._is_new(put, all_new=all_new) or not self._may_fit(put):
                continue
            put.seq = self.last_seq + 1 + len(new)
            new.append(Kept(put.seq, put.id, put.message))
            self._waiting[put.id] = put
            self.due = min(self.due, put.due)
        if new:
            self._fresh.add(new)
            self.last_seq = new[-1].seq
        return bool(new)

    def confirmed(self, ids: list[bytes]) -> list[bytes]:
        """What the next keeper has need not be written any more. The ids that are not waiting here."""
        self._fresh.forget(ids)
        others = []
        for message_id in ids:
            if (put := self._waiting.pop(message_id, None)) is None:
                others.append(message_id)
            else:
                put.report()
        self._settle()
        return others

    def hurry(self) -> None:
        """All of them have to be on disk now."""
        for put in self._waiting.values():
            put.due = self.due = 0.0

    def group(self, now: float, *, max_bytes: int) -> list[Put]:
        """Those to write now, if any are due; the others come with them, as that costs little more.

        At most `max_bytes` of payload, or a single larger message.
        """
        if now < self.due:
            return []
        self.due = min((put.due for put in self._waiting.values()), default=NEVER)
        if now < self.due:  # what was due was confirmed meanwhile
            return []
        group: list[Put] = []
        for put in self._waiting.values():
            max_bytes -= len(put.message.payload)
            if group and max_bytes < 0:
                break
            group.append(put)
        return group

    def written(self, puts: list[Put]) -> None:
        """They are on disk."""
        for put in puts:
            del self._waiting[put.id]
        self.due = min((put.due for put in self._waiting.values()), default=NEVER)
        self._settle()
        for put in puts:
            put.report()

    def _is_new(self, put: Put, *, all_new: bool) -> bool:
        if (twin := self._waiting.get(put.id)) is not None:
            if alike(twin.message, put.message):
                twin.reports += put.reports
                return False
        elif all_new or not self._file.holds_any([put.id]):
            return True
        elif self._file.holds(put.id, put.message):
            put.report()  # its sender has missed the receipt, and that is all
            return False
        # Another message under an id that is taken: whatever its sender did wrong, it must neither
        # vanish nor replace the first. It goes on under an id of its own.
        put.id = new_id().encode()
        return True

    def _may_fit(self, put: Put) -> bool:
        if put.message.size <= self._largest:
            return True
        # Never confirmed, so its sender still has it; those behind it must not wait for the impossible.
        log.error("a message of %d bytes is larger than the whole outbox: not kept", put.message.size)
        return False

    def _settle(self) -> None:
        first = next(iter(self._waiting.values()), None)
        self.settled_seq = self.last_seq if first is None else first.seq - 1
        self._fresh.trim(self.settled_seq)
