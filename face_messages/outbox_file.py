"""The outbox's file: its layout and statements, how it is opened, and what is done with a damaged one."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic_core import from_json, to_json

from face_messages.message import Message

log = logging.getLogger(__name__)

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
_ROWS_AT_ONCE = 128

# What a delivery needs of a row; `aside IS NULL` leaves out what can never be delivered.
_TAKE = (
    "SELECT seq, id, topic, content_type, properties, payload FROM outbox"
    " WHERE seq > ? AND aside IS NULL ORDER BY seq LIMIT ?"
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


def encoded(message: Message) -> bytes:
    """The user properties as they are written into a row: JSON."""
    return to_json(message.user_properties)


def cost_of(message_id: bytes, message: Message, properties: bytes) -> int:
    """Bytes of the file that a message takes up with its encoded properties, rounded up.

    A large row spills into overflow pages of its own, a small one shares a page
    (https://sqlite.org/fileformat2.html#payload_overflow); 192 covers its columns and its place in two B-trees.
    """
    size = len(message.payload) + len(properties) + 4 * len(message.topic) + 4 * len(message.content_type or "")
    size += 2 * len(message_id) + 192
    return size if size < PAGE_BYTES // 4 else -(-size // PAGE_BYTES) * PAGE_BYTES


class Row(Protocol):
    """What is inserted: a message under its id, with its properties encoded and its cost in bytes."""

    @property
    def id(self) -> bytes: ...
    @property
    def message(self) -> Message: ...
    @property
    def properties(self) -> bytes: ...
    @property
    def cost(self) -> int: ...


class OutboxFile:
    """One connection to the file. The outbox opens two: its own thread writes, the sender reads.

    Args:
        path: the SQLite file.
        wal_bytes: the write-ahead log is folded into the file, and cut back, at this size.

    """

    def __init__(self, path: Path, *, wal_bytes: int) -> None:
        self._path = path
        # check_same_thread: opened by one thread and used by another, but never by two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA synchronous=FULL")
            # Debian's and Alpine's SQLite overwrites what is deleted, at the price of writing each face twice.
            self._db.execute("PRAGMA secure_delete=FAST")
            self._create()
            self._db.execute(f"PRAGMA journal_size_limit={wal_bytes}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={max(1, wal_bytes // PAGE_BYTES)}")
        except BaseException:
            self._db.close()
            raise

    def _create(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
            self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
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

    def capacity(self, *, reserve: int) -> int:
        """Bytes of rows that the file can come to with `reserve` bytes of its disk left over."""
        disk = os.statvfs(self._path)
        return self._path.stat().st_size + disk.f_bavail * disk.f_frsize - reserve

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

    def insert_all(self, rows: Sequence[Row]) -> list[Kept]:
        """Adds rows, none of whose ids is held, with few statements."""
        kept: list[Kept] = []
        now = time.time()
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            chunk = rows[begin : begin + _ROWS_AT_ONCE]
            values: list[object] = []
            for row in chunk:
                message = row.message
                values += (row.id, message.topic, message.content_type, row.properties, row.cost, now, message.payload)
            marks = ",".join(["(?,?,?,?,?,?,?)"] * len(chunk))
            sql = f"INSERT INTO outbox (id, topic, content_type, properties, cost, kept_at, payload) VALUES {marks}"  # noqa: S608 - question marks
            last = self._db.execute(sql, values).lastrowid
            assert last is not None
            # One connection writes, in one transaction: the places follow one another.
            first = last - len(chunk) + 1
            kept += [Kept(first + i, row.id, row.message) for i, row in enumerate(chunk)]
        return kept

    def holds_any(self, ids: Collection[bytes], expected: int) -> bool:
        """Whether one of the ids is held, or one was given twice: then there are fewer than `expected`."""
        if len(ids) < expected:
            return True
        for chunk, marks in _chunks(list(ids), _IDS_AT_ONCE):
            sql = f"SELECT 1 FROM outbox WHERE id IN ({marks}) LIMIT 1"  # noqa: S608 - question marks
            if self._db.execute(sql, chunk).fetchone() is not None:
                return True
        return False

    def holds(self, message_id: bytes, message: Message) -> bool:
        """Whether this very message, and no other under the same id, is held."""
        row = self._db.execute(
            "SELECT seq, id, topic, content_type, properties, payload FROM outbox WHERE id = ?", (message_id,)
        ).fetchone()
        if row is None:
            return False
        held = _kept(row).message
        return (held.topic, held.content_type, held.user_properties, held.payload) == (
            message.topic,
            message.content_type,
            message.user_properties,
            message.payload,
        )

    def delete(self, ids: Sequence[bytes]) -> list[tuple[int, bool]]:
        """Removes rows; of each that was there its cost, and whether it was set aside."""
        gone: list[tuple[int, bool]] = []
        for chunk, marks in _chunks(ids, _IDS_AT_ONCE):
            sql = f"DELETE FROM outbox WHERE id IN ({marks}) RETURNING cost, aside IS NOT NULL"  # noqa: S608 - question marks
            gone += [(int(cost), bool(aside)) for cost, aside in self._db.execute(sql, chunk).fetchall()]
        return gone

    def delete_oldest(self) -> int:
        """Removes the oldest message that is to be delivered; its cost, or 0 where there is none."""
        rows = self._db.execute(
            "DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox WHERE aside IS NULL) RETURNING cost"
        ).fetchall()
        return int(rows[0][0]) if rows else 0

    def set_aside(self, message_id: bytes, reason: str) -> bool:
        cursor = self._db.execute("UPDATE outbox SET aside = ? WHERE id = ? AND aside IS NULL", (reason, message_id))
        return cursor.rowcount == 1

    def take(self, after: int, *, limit: int, max_bytes: int) -> list[Kept]:
        taken: list[Kept] = []
        for row in self._db.execute(_TAKE, (after, limit)):
            taken.append(_kept(row))
            max_bytes -= taken[-1].size
            if max_bytes <= 0:
                break
        return taken

    def oldest_kept_at(self) -> float | None:
        row = self._db.execute("SELECT kept_at FROM outbox WHERE aside IS NULL ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def shrink(self) -> None:
        """Gives free pages back to the file system; cheap once the file holds little."""
        # A script: `execute` would take one step, which is one page.
        self._db.executescript("PRAGMA incremental_vacuum")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        self._db.close()


def _chunks(ids: Sequence[bytes], size: int) -> Iterator[tuple[list[bytes], str]]:
    """The ids in portions, with a question mark for each, of a few sizes only: SQLite remembers statements."""
    for begin in range(0, len(ids), size):
        chunk = list(ids[begin : begin + size])
        marks = 1
        while marks < len(chunk):
            marks *= 4
        chunk += [b""] * (marks - len(chunk))  # no message has it
        yield chunk, ",".join("?" * marks)


def open_or_set_aside(path: Path, *, wal_bytes: int) -> OutboxFile:
    """Opens or creates the file. A damaged one is kept under a telling name, and a new one begun.

    Raises:
        OSError: the place cannot be written at present: no rights, no space, locked by another program.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass  # the system's words for what is wrong with the place are better than SQLite's
    try:
        return _open_checked(path, wal_bytes)
    except sqlite3.OperationalError as error:
        # Full, locked or unreadable is not damaged: the next start may find it sound.
        raise OSError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        aside = _set_aside(path)
        log.error("the outbox %s is damaged (%s): kept as %s, a new one is begun", path, error, aside.name)  # noqa: TRY400 - the line says it all
    try:
        return _open_checked(path, wal_bytes)
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


def _open_checked(path: Path, wal_bytes: int) -> OutboxFile:
    file = OutboxFile(path, wal_bytes=wal_bytes)
    try:
        file.check()
    except BaseException:
        file.close()
        raise
    return file


def _set_aside(path: Path) -> Path:
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    aside, count = path.with_name(name), 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{name}-{count}")
    for suffix in ("", "-wal", "-shm"):
        if (part := path.with_name(path.name + suffix)).exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _kept(row: tuple[int, bytes, str, str | None, bytes, bytes]) -> Kept:
    seq, message_id, topic, content_type, properties, payload = row
    pairs = tuple((name, value) for name, value in from_json(properties))
    return Kept(seq, message_id, Message(topic, payload, content_type, pairs))
