"""The outbox's file: its layout and its statements."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

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
    aside TEXT,                             -- of a dead letter: why it can never be delivered
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

_KEPT = "seq, id, topic, content_type, properties, payload"


@dataclass(slots=True)
class Kept:
    """A message in custody. `seq` is its place in the order of arrival, `id` what a receipt names it by."""

    seq: int
    id: bytes
    message: Message

    @property
    def size(self) -> int:
        """Bytes of payload."""
        return len(self.message.payload)

    def holds(self, message: Message) -> bool:
        """Whether this is the message, as far as an outbox keeps it."""
        kept = self.message
        return (kept.payload, kept.topic, kept.content_type, kept.user_properties) == (
            message.payload,
            message.topic,
            message.content_type,
            message.user_properties,
        )


@dataclass(slots=True)
class Totals:
    """What the file holds: messages to deliver, dead letters, and the bytes that both take up."""

    messages: int
    dead_letters: int
    bytes: int

    @property
    def rows(self) -> int:
        return self.messages + self.dead_letters

    def less(self, cost: int, *, was_dead: bool) -> None:
        """One of them is gone."""
        self.bytes -= cost
        self.dead_letters -= was_dead
        self.messages -= not was_dead


def row_of(kept: Kept) -> tuple[bytes, int]:
    """A message's user properties as they are written, and what it takes up of the file, in bytes, rounded up.

    A large row spills into overflow pages of its own, a small one shares a page.
    https://sqlite.org/fileformat2.html#payload_overflow; 192 covers its columns and its place in two B-trees.
    """
    message = kept.message
    properties = to_json(message.user_properties)
    size = kept.size + len(properties) + 4 * len(message.topic) + 4 * len(message.content_type or "")
    size += 2 * len(kept.id) + 192
    return properties, size if size < PAGE_BYTES // 4 else -(-size // PAGE_BYTES) * PAGE_BYTES


class OutboxFile:
    """One connection to the SQLite file. The outbox opens two: its own thread writes, the other threads read.

    The write-ahead log is folded into the file, and cut back, at `log_bytes`; 0 where nothing is written. To `check`
    reads all pages, which takes long.

    sqlite3.OperationalError: it cannot be opened at present; any other sqlite3.DatabaseError: it is damaged.
    """

    def __init__(self, path: Path, *, log_bytes: int = 0, check: bool = False) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        # check_same_thread: opened by one thread and used by others, but never by two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        try:
            self._db.execute("PRAGMA synchronous=FULL")
            # Debian's and Alpine's SQLite overwrites what is deleted, at the price of writing each face twice.
            self._db.execute("PRAGMA secure_delete=FAST")
            self._create()
            if log_bytes:
                # The cache takes the largest group commit; else that would be written, read back and written again.
                self._db.executescript(
                    f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit={log_bytes};"
                    f"PRAGMA wal_autocheckpoint={max(1, log_bytes // PAGE_BYTES)}"
                )
            if check:
                self._check()
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

    def _check(self) -> None:
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

    def insert_all(self, rows: Sequence[tuple[Kept, bytes, int]]) -> None:
        """Adds messages, with what `row_of` told of them; none of their ids is held."""
        now = time.time()
        begin = 0
        while chunk := rows[begin : begin + next((n for n in _ROWS_AT_ONCE if n <= len(rows) - begin), 1)]:
            begin += len(chunk)
            values: list[object] = []
            for kept, properties, cost in chunk:
                message = kept.message
                values += (kept.seq, kept.id, message.topic, message.content_type)
                values += (properties, message.payload, cost, now)
            marks = ",".join(["(?,?,?,?,?,?,?,?)"] * len(chunk))
            self._db.execute(f"INSERT INTO outbox ({_KEPT}, cost, kept_at) VALUES {marks}", values)  # noqa: S608 - question marks

    def delete(self, ids: Sequence[bytes]) -> list[tuple[bytes, int, bool]]:
        """Removes rows; of each that was there id and cost, and whether it was a dead letter."""
        gone: list[tuple[bytes, int, bool]] = []
        for begin in range(0, len(ids), _IDS_AT_ONCE):
            chunk = list(ids[begin : begin + _IDS_AT_ONCE])
            # Question marks of a few numbers only: SQLite remembers statements. No message has an empty id.
            marks = next(n for n in (1, 4, 16, 64, _IDS_AT_ONCE) if n >= len(chunk))
            chunk += [b""] * (marks - len(chunk))
            gone += self._delete(f"id IN ({','.join('?' * marks)})", chunk)
        return gone

    def delete_oldest(self) -> tuple[bytes, int, bool] | None:
        """Removes the oldest message, or a dead letter where there is nothing else; None where there is neither."""
        oldest = "seq = (SELECT min(seq) FROM outbox {})"
        rows = self._delete(oldest.format("WHERE aside IS NULL")) or self._delete(oldest.format(""))
        return rows[0] if rows else None

    def _delete(self, where: str, values: Sequence[bytes] = ()) -> list[tuple[bytes, int, bool]]:
        sql = f"DELETE FROM outbox WHERE {where} RETURNING id, cost, aside IS NOT NULL"  # noqa: S608 - constants
        return self._db.execute(sql, values).fetchall()

    def set_dead(self, message_id: bytes, reason: str) -> bool:
        """Makes a message a dead letter; False where it is not held, or is one."""
        cursor = self._db.execute("UPDATE outbox SET aside = ? WHERE id = ? AND aside IS NULL", (reason, message_id))
        return cursor.rowcount == 1

    def find(self, message_id: bytes) -> Kept | None:
        """The message of this id, dead or not."""
        row = self._db.execute(f"SELECT {_KEPT} FROM outbox WHERE id = ?", (message_id,)).fetchone()  # noqa: S608 - a constant
        return None if row is None else _kept(row)

    def take(self, after: int, *, upto: int, limit: int, max_bytes: int) -> list[Kept]:
        """The oldest messages behind the place `after`, at most `upto`; at least one where there is any."""
        taken: list[Kept] = []
        sql = f"SELECT {_KEPT} FROM outbox WHERE seq > ? AND seq <= ? AND aside IS NULL ORDER BY seq LIMIT ?"  # noqa: S608 - as above
        for row in self._db.execute(sql, (after, upto, limit)):
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

        The readers hold `lock`, as a reader keeps the log from being cut back.
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
    except FileNotFoundError:
        return 0


def _kept(row: tuple[int, bytes, str, str | None, bytes, bytes]) -> Kept:
    seq, message_id, topic, content_type, properties, payload = row
    pairs = tuple((name, value) for name, value in from_json(properties))
    return Kept(seq, message_id, Message(topic, payload, content_type, pairs))
