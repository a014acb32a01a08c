"""The outbox's file: its layout and its statements."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Self

from pydantic_core import from_json, to_json

from face_messages.message import Message

#: Large pages suit rows of this size (https://sqlite.org/intern-v-extern-blob.html).
PAGE_BYTES = 8192

_LAYOUT = """
BEGIN IMMEDIATE;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: the sender's cursor counts on it
    id BLOB NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    content_type TEXT,
    properties BLOB NOT NULL,               -- JSON
    cost INTEGER NOT NULL,                  -- bytes of this file that the row takes up, rounded up
    kept_at REAL NOT NULL,                  -- for people to read; nothing depends on the clock
    aside TEXT,                             -- why it can never be delivered
    payload BLOB NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""
_VERSION = 1

# What a row costs beyond its message's size, at most: topic and content type, 64 KiB each, and rounding up to pages.
ROW_MARGIN = 192 * 1024

# A statement for many rows: each one lets other Python threads run in between, and then waits for its turn.
_IDS_AT_ONCE = 256
# Of few sizes: a statement that is remembered keeps what was bound to it last, payloads and all.
_ROWS_AT_ONCE = (64, 16, 4, 1)

_BUSY_SECONDS = 10
_CACHE_KIB = 8 * 1024

# A file is worth the work of making it small when it is large and holds little.
_LARGE_BYTES = 32 * 1024 * 1024
_LITTLE_BYTES = 4 * 1024 * 1024

_COLUMNS = "seq, id, topic, content_type, properties, cost, kept_at, payload"

# What a delivery needs of a row; `aside IS NULL` leaves out what can never be delivered.
_TAKE = (
    "SELECT seq, id, topic, content_type, properties, payload FROM outbox"
    " WHERE seq > ? AND seq <= ? AND aside IS NULL ORDER BY seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in custody. `seq` is its place in the order of arrival, `id` what a receipt names it by."""

    seq: int
    id: bytes
    message: Message

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return len(self.message.payload)


@dataclass(slots=True)
class Totals:
    """What the file holds: messages to deliver, messages set aside, and the bytes that both take up."""

    messages: int
    aside: int
    bytes: int

    def less(self, cost: int, *, was_aside: bool) -> None:
        """One of them is gone."""
        self.bytes -= cost
        self.aside -= was_aside
        self.messages -= not was_aside


@dataclass(slots=True)
class Row:
    """A message as it is inserted. `cost` is what it takes up of the file, in bytes, rounded up."""

    seq: int
    id: bytes
    message: Message
    properties: bytes
    cost: int

    @classmethod
    def of(cls, seq: int, message_id: bytes, message: Message) -> Self:
        """A large row spills into overflow pages of its own, a small one shares a page.

        https://sqlite.org/fileformat2.html#payload_overflow; 192 covers its columns and its place in two B-trees.
        """
        properties = to_json(message.user_properties)
        size = len(message.payload) + len(properties) + 4 * len(message.topic) + 4 * len(message.content_type or "")
        size += 2 * len(message_id) + 192
        cost = size if size < PAGE_BYTES // 4 else -(-size // PAGE_BYTES) * PAGE_BYTES
        return cls(seq, message_id, message, properties, cost)


def alike(one: Message, other: Message) -> bool:
    """Whether the two are the same as far as an outbox keeps them."""
    return (one.payload, one.topic, one.content_type, one.user_properties) == (
        other.payload,
        other.topic,
        other.content_type,
        other.user_properties,
    )


class OutboxFile:
    """One connection to the file. The outbox opens two: its own thread writes, the sender reads.

    Args:
        path: the SQLite file.
        log_bytes: the write-ahead log is folded into the file, and cut back, at this size; 0 where nothing is written.

    """

    def __init__(self, path: Path, *, log_bytes: int = 0) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        # check_same_thread: opened by one thread and used by another, but never by two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        try:
            self._db.execute("PRAGMA synchronous=FULL")
            # Debian's and Alpine's SQLite overwrites what is deleted, at the price of writing each face twice.
            self._db.execute("PRAGMA secure_delete=FAST")
            self._create()
            if log_bytes:
                # The largest group commit, or it would be written to the log, read back and written again.
                self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                self._db.execute("PRAGMA temp_store=MEMORY")
                self._db.execute(f"PRAGMA journal_size_limit={log_bytes}")
                self._db.execute(f"PRAGMA wal_autocheckpoint={max(1, log_bytes // PAGE_BYTES)}")
        except BaseException:
            self._db.close()
            raise

    def _create(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_LAYOUT)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"its layout is version {version}, this program knows {_VERSION}")

    def check(self) -> None:
        """Reads all pages.

        Raises:
            sqlite3.DatabaseError: the file is damaged.

        """
        if (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)

    def totals(self) -> Totals:
        row = self._db.execute(
            "SELECT count(*) FILTER (WHERE aside IS NULL), count(*) FILTER (WHERE aside IS NOT NULL),"
            " coalesce(sum(cost), 0) FROM outbox"
        ).fetchone()
        return Totals(*row)

    def last_seq(self) -> int:
        """The place of the row that was inserted last, whether or not it is still there."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return 0 if row is None else int(row[0])

    def space(self) -> int:
        """Bytes that file and log take up on their disk, and that are free there."""
        disk = os.statvfs(self._path)
        return _size(self._path) + _size(self._log) + disk.f_bavail * disk.f_frsize

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite rolls back by itself after some errors
                self._db.execute("ROLLBACK")
            raise

    def insert_all(self, rows: Sequence[Row]) -> None:
        """Adds rows, none of whose ids is held, with few statements."""
        now = time.time()
        begin = 0
        while chunk := rows[begin : begin + next((n for n in _ROWS_AT_ONCE if n <= len(rows) - begin), 1)]:
            begin += len(chunk)
            values: list[object] = []
            for row in chunk:
                message = row.message
                values += (row.seq, row.id, message.topic, message.content_type)
                values += (row.properties, row.cost, now, message.payload)
            marks = ",".join(["(?,?,?,?,?,?,?,?)"] * len(chunk))
            self._db.execute(f"INSERT INTO outbox ({_COLUMNS}) VALUES {marks}", values)  # noqa: S608 - question marks

    def holds_any(self, ids: Sequence[bytes]) -> bool:
        """Whether one of the ids is held."""
        for chunk, marks in _chunks(ids, _IDS_AT_ONCE):
            sql = f"SELECT 1 FROM outbox WHERE id IN ({marks}) LIMIT 1"  # noqa: S608 - question marks
            if self._db.execute(sql, chunk).fetchone() is not None:
                return True
        return False

    def holds(self, message_id: bytes, message: Message) -> bool:
        """Whether this very message, and no other under the same id, is held."""
        row = self._db.execute(
            "SELECT seq, id, topic, content_type, properties, payload FROM outbox WHERE id = ?", (message_id,)
        ).fetchone()
        return row is not None and alike(_kept(row).message, message)

    def delete(self, ids: Sequence[bytes]) -> list[tuple[int, bool]]:
        """Removes rows; of each that was there its cost, and whether it was set aside."""
        gone: list[tuple[int, bool]] = []
        for chunk, marks in _chunks(ids, _IDS_AT_ONCE):
            sql = f"DELETE FROM outbox WHERE id IN ({marks}) RETURNING cost, aside IS NOT NULL"  # noqa: S608 - question marks
            gone += [(int(cost), bool(aside)) for cost, aside in self._db.execute(sql, chunk).fetchall()]
        return gone

    def delete_oldest(self) -> tuple[bytes, int, bool] | None:
        """Removes the oldest message, one that was set aside only where there is no other.

        Its id, its cost and whether it was set aside; None where there is none.
        """
        for which in ("WHERE aside IS NULL", ""):
            rows = self._db.execute(
                f"DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox {which})"  # noqa: S608 - as above
                " RETURNING id, cost, aside IS NOT NULL"
            ).fetchall()
            if rows:
                return bytes(rows[0][0]), int(rows[0][1]), bool(rows[0][2])
        return None

    def set_aside(self, message_id: bytes, reason: str) -> bool:
        cursor = self._db.execute("UPDATE outbox SET aside = ? WHERE id = ? AND aside IS NULL", (reason, message_id))
        return cursor.rowcount == 1

    def take(self, after: int, *, upto: int, limit: int, max_bytes: int) -> list[Kept]:
        """The oldest messages behind the place `after`, at most `upto`; at least one where there is any."""
        taken: list[Kept] = []
        for row in self._db.execute(_TAKE, (after, upto, limit)):
            taken.append(_kept(row))
            max_bytes -= taken[-1].size
            if max_bytes <= 0:
                break
        return taken

    def oldest(self) -> tuple[int, float] | None:
        """Place of the oldest message that is to be delivered, and when it was kept, by the wall clock."""
        row = self._db.execute("SELECT seq, kept_at FROM outbox WHERE aside IS NULL ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else (int(row[0]), float(row[1]))

    def keep_log_short(self, most: int, *, lock: Lock) -> bool:
        """Folds the write-ahead log into the file by force if it is larger than `most` bytes; False where it cannot.

        SQLite does so by itself, but not while somebody reads: if that is another program, there is nothing to be done.
        """
        if _size(self._log) <= most:
            return True
        with lock:
            self._db.execute("PRAGMA busy_timeout=0")
            (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._db.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        return not busy

    def keep_small(self, used: int, *, lock: Lock) -> None:
        """Gives the file system back what a backlog took up, once it is gone: `used` bytes are left of it.

        Args:
            lock: held by whoever reads through another connection, which keeps the log from being cut back.

        """
        if used < _LITTLE_BYTES and self._path.stat().st_size > _LARGE_BYTES:
            self._db.execute("VACUUM")
            with lock:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        self._db.close()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the log, before the first commit
        return 0


def _chunks(ids: Sequence[bytes], size: int) -> Iterator[tuple[list[bytes], str]]:
    """The ids in portions, with a question mark for each, of a few sizes only: SQLite remembers statements."""
    for begin in range(0, len(ids), size):
        chunk = list(ids[begin : begin + size])
        marks = 1
        while marks < len(chunk):
            marks *= 4
        chunk += [b""] * (marks - len(chunk))  # no message has it
        yield chunk, ",".join("?" * marks)


def _kept(row: tuple[int, bytes, str, str | None, bytes, bytes]) -> Kept:
    seq, message_id, topic, content_type, properties, payload = row
    pairs = tuple((name, value) for name, value in from_json(properties))
    return Kept(seq, message_id, Message(topic, payload, content_type, pairs))
