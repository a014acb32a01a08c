"""Where an outbox lies: claimed by one program at a time, opened, and kept aside where it is damaged."""

import fcntl
import logging
import sqlite3
import time
from pathlib import Path
from typing import IO

from face_messages.outbox.database import OutboxFile

log = logging.getLogger(__name__)


class OutboxInUseError(OSError):
    """Another program has this outbox."""


def claim(path: Path) -> IO[bytes]:
    """Makes the outbox this program's own until what is returned is closed; its folder is created.

    The lock is on a file beside it, since SQLite's own locks end when any handle of their file is closed.

    OutboxInUseError: another program has it. OSError: the place cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise OutboxInUseError(f"{path} is in use by another program: give each its own outbox") from None
    except BaseException:
        lock.close()
        raise
    return lock


def open_or_set_aside(path: Path, *, log_bytes: int, check: bool = True) -> OutboxFile:
    """Opens or creates the file. A damaged one is kept under a telling name, and a new one begun.

    OSError, sqlite3.Error: the place cannot be used at present: no rights, no space, locked by another program.
    """
    with path.open("ab"):
        pass  # the system's words for what is wrong with the place are better than SQLite's
    try:
        return OutboxFile(path, log_bytes=log_bytes, check=check)
    except sqlite3.OperationalError:
        raise  # full, locked or unreadable is not damaged: the next start may find it sound
    except sqlite3.DatabaseError as error:
        aside = _set_aside(path)
        log.error("the outbox %s is damaged (%s): kept as %s, a new one is begun", path, error, aside.name)  # noqa: TRY400 - the line says it all
    return OutboxFile(path, log_bytes=log_bytes, check=check)


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
