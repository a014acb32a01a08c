"""The outbox on a disk that has no room: it says so, confirms nothing it does not hold, and goes on by itself."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from face_messages import Message, Outbox, WhenFull
from tests.support.parts import on_disk, put_and_wait
from tests.support.waiting import at_least, eventually

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs; the test with a limit on file sizes needs none")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_limit_on_the_file_size_loses_nothing(tmp_path: Path) -> None:
    """Writes fail as on a full disk; after the limit is gone all is kept, in order, each confirmed once."""
    child = subprocess.run(
        [sys.executable, "-c", _LIMITED_CHILD, str(tmp_path / "o.db")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr.count("the outbox cannot be written") == 1, child.stderr
    assert "free space on its disk" in child.stderr
    assert "takes messages again" in child.stderr


_LIMITED_CHILD = """
import logging, resource, sys, threading
from pathlib import Path
from face_messages import Message, Outbox, WhenFull
from tests.support.parts import on_disk
from tests.support.waiting import at_least, eventually
logging.basicConfig(level="INFO")
outbox = Outbox(Path(sys.argv[1]), max_bytes=64 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
done = []
for i in range(100):
    outbox.put(b"%d" % i, Message("t", bytes(50_000)), lambda i=i: done.append(i))
eventually(lambda: outbox.trouble)
held = [int(i) for i in on_disk(Path(sys.argv[1]))]
assert done == held and len(done) < 100, (done, held)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
eventually(lambda: len(done) == 100)
assert done == [int(i) for i in on_disk(Path(sys.argv[1]))] == list(range(100))
eventually(lambda: outbox.trouble is None)
outbox.close()
"""


def test_a_full_file_system_is_waited_for(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was confirmed before is there, what comes meanwhile is confirmed once there is space."""
    outbox = Outbox(small_disk / "o.db", max_bytes=8 * MIB)
    done: list[int] = []
    try:
        put_and_wait(outbox, [(b"before", Message("t", b"x"))])
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):  # noqa: PT012 - the block is one file
            while True:
                file.write(bytes(65536))
        for i in range(10):
            outbox.put(b"%d" % i, Message("t", bytes(100_000)), partial(done.append, i))
        eventually(lambda: outbox.trouble)
        assert on_disk(small_disk / "o.db") == [b"before", *(b"%d" % i for i in done)]
        filler.unlink()
        eventually(lambda: len(done) == 10)
        assert len(on_disk(small_disk / "o.db")) == 11
    finally:
        outbox.close()
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


def test_discards_make_room_on_a_full_file_system(small_disk: Path) -> None:
    """It gets by with what it has: confirmed messages go, and new ones take their pages."""
    outbox = Outbox(small_disk / "o.db", max_bytes=8 * MIB)
    done: list[int] = []
    try:
        for i in range(200):
            outbox.put(b"%d" % i, Message("t", bytes(100_000)), partial(done.append, i))
        eventually(lambda: outbox.trouble)
        assert 0 < len(done) < 100
        for _ in range(200):
            if len(done) == 200:
                break
            count = len(done)
            outbox.discard([b"%d" % i for i in done[-20:]] + [b"%d" % i for i in done])
            at_least(lambda: len(done), count + 1)
        assert done == list(range(200))
    finally:
        outbox.close()


def test_an_outbox_cannot_be_opened_on_a_full_file_system(small_disk: Path) -> None:
    """That is trouble that names the file, and no damage: once there is space it opens, with what it held."""
    path = small_disk / "o.db"
    outbox = Outbox(path, max_bytes=8 * MIB)
    put_and_wait(outbox, [(b"%d" % i, Message("t", bytes(1000))) for i in range(10)])
    outbox.close()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):  # noqa: PT012 - the block is one file
        while True:
            file.write(bytes(4096))
    outbox = Outbox(path, max_bytes=8 * MIB)
    try:
        assert "o.db" in (outbox.trouble or "")
        filler.unlink()
        eventually(lambda: len(outbox) == 10 and outbox.trouble is None)
    finally:
        outbox.close()
    assert [f.name for f in small_disk.iterdir() if "damaged" in f.name] == []


def disk_bytes(path: Path) -> int:
    """What an outbox takes up: its file and the write-ahead log."""
    return sum(f.stat().st_size for f in (path, path.with_name(f"{path.name}-wal")) if f.exists())


@pytest.mark.parametrize("when_full", WhenFull)
@pytest.mark.parametrize("max_bytes", [1 * MIB, 5 * MIB, 64 * MIB])
def test_a_small_disk_is_used_but_never_overrun(
    small_disk: Path, when_full: WhenFull, max_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the bound or the disk's end comes first: what is confirmed is there, and the sums agree.

    The sizes are of all kinds, so that no row fits the space that another leaves.
    """
    path = small_disk / "o.db"
    chance = random.Random(max_bytes)
    outbox = Outbox(path, max_bytes=max_bytes, when_full=when_full)
    bound = min(max_bytes, 6 * MIB)
    largest = bound // 16
    safe: list[int] = []
    most = 0
    try:
        for number in range(400):
            size = int(largest ** chance.uniform(0.4, 1.0))
            outbox.put(b"%d" % number, Message("t", chance.randbytes(size)), partial(safe.append, number))
            if number % 8 == 7:
                eventually(lambda: outbox.trouble is not None or len(safe) == number + 1)  # noqa: B023 - done within
                most = max(most, disk_bytes(path))
        eventually(lambda: outbox.trouble)
        if when_full is WhenFull.OVERWRITE_OLDEST:
            eventually(lambda: len(safe) == 400)
        held = [int(i) for i in on_disk(path)]
        assert held == safe[len(safe) - len(held) :]
        assert outbox.overwritten == len(safe) - len(held)
        assert (outbox.overwritten > 0) == (when_full is WhenFull.OVERWRITE_OLDEST)
        # It is a bound and not a wall far away from it: most of it is used.
        assert bound / 2 < max(most, disk_bytes(path)) <= bound
    finally:
        outbox.close()
    lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(lines) == 1, lines
    assert "full" in lines[0]


def test_a_reader_that_does_not_end_cannot_make_the_files_grow(tmp_path: Path) -> None:
    """The log cannot be folded into the file under a reader: the outbox waits for it, and loses nothing by that."""
    path = tmp_path / "o.db"
    outbox = Outbox(path, max_bytes=8 * MIB, when_full=WhenFull.OVERWRITE_OLDEST)
    put_and_wait(outbox, [(b"first", Message("t", bytes(1000)))])
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM outbox").fetchall()
        safe: list[int] = []
        for number in range(100):
            outbox.put(b"%d" % number, Message("t", bytes(50_000)), partial(safe.append, number))
        eventually(lambda: outbox.trouble)
        assert "another program" in str(outbox.trouble)
        assert 0 < len(safe) < 100
        assert outbox.overwritten == 0
        assert disk_bytes(path) <= 8 * MIB
        reader.execute("COMMIT")
        eventually(lambda: len(safe) == 100)
        assert disk_bytes(path) <= 8 * MIB
    finally:
        reader.close()
        outbox.close()
