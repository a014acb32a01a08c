"""The messages of an outbox that are in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from face_messages.outbox.database import Kept, OutboxFile

NEVER = float("inf")

# Bytes of memory that a message takes up beside its payload.
_OVERHEAD = 1024
# Ids on disk that are remembered; of more than that the file is asked.
_IDS = 10_000


@dataclass(slots=True, eq=False)
class Put(Kept):
    """A message in memory. `reports` are called when it is safe, `due` is when it has to be on disk (monotonic)."""

    reports: list[Callable[[], None]]
    due: float

    def report(self) -> None:
        for report in self.reports:
            report()


class Pending:
    """Holds every message that is not on disk yet, and of those on disk the latest, to save a read.

    Messages go to disk in their order: all up to the place `settled_seq` are there, or gone. Those of them that are
    still held here are the cache, of at most `cache_bytes`; the oldest is dropped first. So all messages behind some
    place are here, or gone. The outbox holds its lock for each call. At the start, there are `rows` messages on disk,
    up to the place `last_seq`.
    """

    def __init__(self, last_seq: int, *, rows: int, cache_bytes: int) -> None:
        #: The place of the message that came last.
        self.last_seq = last_seq
        self.settled_seq = last_seq
        #: When the first message that is not on disk has to be there, at the earliest (monotonic); the outbox may put
        #: it forward, or off.
        self.due = NEVER
        self._messages: dict[int, Put] = {}  # by place, in order
        self._seqs: dict[bytes, int] = {}
        self._cache_bytes = cache_bytes
        self._cached = 0
        # Ids on disk that are not confirmed; None while they are too many, or not all known.
        self._on_disk: set[bytes] | None = None if rows else set()

    def __len__(self) -> int:
        """Messages that are not on disk."""
        return sum(1 for _ in self.unsettled())

    def behind(self, file: OutboxFile, *, rows: int) -> tuple["Pending", list[Put]]:
        """The same messages with new places behind the `rows` of a file that was opened, and those that it has."""
        pending = Pending(max(file.last_seq(), self.last_seq), rows=rows, cache_bytes=self._cache_bytes)
        safe: list[Put] = []
        for put in self._messages.values():
            if not self.is_unsettled(put.id):
                put.reports = []  # its sender knows
            if (twin := file.find(put.id)) is None:
                put.due = 0.0
                pending.add(put)
            elif twin.holds(put.message):
                safe.append(put)
        return pending, safe

    @property
    def complete_after(self) -> int:
        """All messages behind this place are here, or gone."""
        return next(iter(self._messages), self.last_seq + 1) - 1

    def get(self, message_id: bytes) -> Put | None:
        return self._messages.get(self._seqs.get(message_id, 0))

    def is_unsettled(self, message_id: bytes) -> bool:
        """Whether the message is not on disk yet."""
        return self._seqs.get(message_id, 0) > self.settled_seq

    def add(self, put: Put) -> bool:
        """Gives the message the next place. Whether it is due before all others."""
        self.last_seq = put.seq = self.last_seq + 1
        self._messages[put.seq] = put
        self._seqs[put.id] = put.seq
        if put.due >= self.due:
            return False
        self.due = put.due
        return True

    def remove(self, message_id: bytes) -> Put | None:
        if self._on_disk is not None:
            self._on_disk.discard(message_id)
        if (put := self.get(message_id)) is not None:
            self._drop(put)
            if put.seq == self.settled_seq + 1:
                self._settle(put.seq)
        return put

    def take(self, after: int, *, upto: int, limit: int, max_bytes: int) -> list[Kept]:
        """The oldest messages behind the place `after` and not behind `upto`; at least one where there is any."""
        taken: list[Kept] = []
        for seq in range(max(after, self.complete_after) + 1, upto + 1):
            if (put := self._messages.get(seq)) is not None:
                taken.append(put)
                max_bytes -= put.size
                if len(taken) == limit or max_bytes <= 0:
                    break
        return taken

    def unsettled(self) -> Iterator[Put]:
        """The messages that are not on disk, in order."""
        for seq in range(self.settled_seq + 1, self.last_seq + 1):
            if (put := self._messages.get(seq)) is not None:
                yield put

    def may_be_on_disk(self, message_id: bytes) -> bool:
        """False where no message on disk has this id, but for dead letters, and those that are confirmed."""
        return self._on_disk is None or message_id in self._on_disk

    def look_when_due(self) -> None:
        """Finds out when the first message that is not on disk has to be there."""
        self.due = min((put.due for put in self.unsettled()), default=NEVER)

    def group(self, max_bytes: int) -> list[Put]:
        """The next to write: at most `max_bytes` of payload, or a single larger message."""
        group: list[Put] = []
        for put in self.unsettled():
            max_bytes -= put.size
            if group and max_bytes < 0:
                break
            group.append(put)
        return group

    def settle(self, seq: int, *, rows: int) -> None:
        """All messages up to this place are on disk now, or gone; `rows` messages are there."""
        self._settle(seq)
        if not rows:
            self._on_disk = set()
        elif self._on_disk is not None and len(self._on_disk) > _IDS:
            self._on_disk = None
        while self._cached > self._cache_bytes:
            self._drop(next(iter(self._messages.values())))

    def _settle(self, seq: int) -> None:
        for each in range(self.settled_seq + 1, seq + 1):
            if (put := self._messages.get(each)) is not None:
                self._cached += put.size + _OVERHEAD
                if self._on_disk is not None:
                    self._on_disk.add(put.id)
        self.settled_seq = max(self.settled_seq, seq)
        while self.settled_seq < self.last_seq and self.settled_seq + 1 not in self._messages:
            self.settled_seq += 1

    def _drop(self, put: Put) -> None:
        del self._messages[put.seq], self._seqs[put.id]
        if put.seq <= self.settled_seq:
            self._cached -= put.size + _OVERHEAD
