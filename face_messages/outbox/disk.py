"""The disk under an outbox, which may fail and come back."""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from face_messages.outbox.database import OutboxFile
from face_messages.outbox.files import claim, open_or_set_aside
from face_messages.service.backoff import Backoff

T = TypeVar("T")

#: Between two looks at an idle disk, and between two writes to it that are nothing but looks; in seconds.
LOOK_SECONDS = 2.0
_TOUCH_SECONDS = 60.0

BROKEN = (sqlite3.Error, OSError)


class _Files:
    """The outbox's file while its disk works: claimed, and opened twice, to be written and to be read.

    OSError: the place cannot be used at present: no disk, no rights, no space, locked by another program.
    """

    def __init__(self, path: Path, *, log_bytes: int, check: bool) -> None:
        with contextlib.ExitStack() as opened:
            self.claim = opened.enter_context(claim(path))
            try:
                self.writing = opened.enter_context(
                    contextlib.closing(open_or_set_aside(path, log_bytes=log_bytes, check=check))
                )
                self.reading = opened.enter_context(contextlib.closing(OutboxFile(path)))
            except sqlite3.Error as error:
                raise OSError(f"{path}: {error}") from error
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Lets go of all of it, also on a disk that is gone."""
        with contextlib.suppress(*BROKEN):
            self._opened.close()


def _may_be_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Disk:
    """Keeps the file at `path` open. Where the disk fails it opens the file anew, ever more rarely.

    One thread writes, and calls `is_ready` before it does. Others only read; `on_failure` is called in any of them when
    that failed. A damaged file is kept under a telling name, and a new one is begun.
    """

    def __init__(self, path: Path, *, log_bytes: int, on_failure: Callable[[Exception], None]) -> None:
        self._path = path
        self._log_bytes = log_bytes
        self._on_failure = on_failure
        self._files: _Files | None = None
        self._mount: Path | None = None
        self._is_suspect = True  # reading all of it takes long, so that is done only then
        self._again_at = self._looked = self._touched = 0.0
        self._began, self._began_at = 0, time.monotonic()  # the last place of earlier runs, and when this one began
        self._backoff = Backoff(first=2.0, longest=10.0)
        #: For the connection that reads.
        self.reading = threading.Lock()
        #: False while the file cannot be read or written. A disk that is only full works.
        self.works = False
        #: How often the file was opened.
        self.openings = 0

    @property
    def writing(self) -> OutboxFile:
        assert self._files is not None
        return self._files.writing

    def open(self, *, check: bool = True) -> None:
        """Opens the file, and reads all of it to see whether it is sound.

        OSError: the place cannot be used at present; OutboxInUseError: another program has it.
        """
        mount = next((folder for folder in self._path.absolute().parents if os.path.ismount(folder)), None)
        if self._mount not in (None, mount):
            raise FileNotFoundError(f"{self._mount} is not mounted")
        self._files = _Files(self._path, log_bytes=self._log_bytes, check=check)
        self._mount = mount
        if not self.openings:
            self._began = self._files.writing.last_seq()
        self._touched = time.monotonic()
        self.works = True
        self._is_suspect = False
        self.openings += 1

    def is_ready(self) -> bool:
        """Whether the file may be written; False where it is too early to try again. OSError: the disk fails."""
        now = time.monotonic()
        if self.works and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look(now)
            self._backoff.reset()
        if self.works:
            return True
        if now < self._again_at:
            return False
        with self.reading:
            if self._files is not None:
                self._probe()  # where it has turned read-only, what is there can still be sent
                self._close()
            self.open(check=self._is_suspect)
        return True

    def _look(self, now: float) -> None:
        """Sees whether the disk works. While all faces go on from memory, nothing else would notice.

        Only a write shows that a disk has died. It also wears the disk out, so there are few of these.
        """
        self._probe()
        if now - self._touched >= _TOUCH_SECONDS:
            assert self._files is not None
            self._touched = now
            os.utime(self._files.claim.fileno())
            os.fsync(self._files.claim.fileno())

    def _probe(self) -> None:
        """Opens a file for writing and reads: this shows a file system that is shut down, or read-only for an error."""
        assert self._files is not None
        # Not the outbox's file: with any handle of it, SQLite's locks on it would end.
        with contextlib.suppress(FileNotFoundError), Path(self._files.claim.name).open("r+b", buffering=0) as file:
            file.read(1)

    def fails(self, error: Exception) -> None:
        """Called by the thread that writes, when it could not."""
        self._is_suspect |= _may_be_damage(error)
        self._again_at = time.monotonic() + self._backoff.next_delay()
        with self.reading:
            self.works = False
            try:
                if self._files is not None:
                    self._files.reading.oldest()
            except BROKEN:
                self._is_suspect = True
                self._close()  # a file system cannot be unmounted and mended while somebody has its files

    def read(self, look: Callable[[OutboxFile], T], nothing: T) -> T:
        """What `look` finds in the file, or `nothing` while it cannot be read."""
        with self.reading:
            try:
                return nothing if self._files is None else look(self._files.reading)
            except BROKEN as error:
                self.works = False
                self._is_suspect = True
                failure = error
        self._on_failure(failure)
        return nothing

    def oldest_age(self) -> float:
        """Seconds since the oldest message in the file was kept; 0 where there is none.

        For those of this run it is at most, and for earlier ones at least, what the monotonic clock tells: the wall
        clock of a device without a battery jumps by years.
        """
        oldest = self.read(OutboxFile.oldest, None)
        if oldest is None:
            return 0.0
        seq, kept_at = oldest
        age, running = max(0.0, time.time() - kept_at), time.monotonic() - self._began_at
        return min(age, running) if seq > self._began else max(age, running)

    def close(self) -> None:
        with self.reading:  # whoever asks for figures may be late
            self._close()

    def _close(self) -> None:
        if self._files is not None:
            self._files.close()
        self._files = None
