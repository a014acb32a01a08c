"""What a power cut leaves of an outbox: every state of its files that the disk could hold is opened and looked at.

A real outbox runs under strace, which records what reaches the file system and in which order. A power cut keeps what
was synced, and of the rest whatever it likes: nothing, all of it, or some writes, the last one torn.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from face_messages.outbox.files import open_or_set_aside

ROOT = Path(__file__).parent.parent.parent
MESSAGES = 24

# Keeps messages in small groups, discards some, and tells of each when the outbox says that it is safe.
CHILD = """
import os, sys, threading
from pathlib import Path
from face_messages import Message, Outbox
from face_messages.outbox import database as outbox_file
if sys.argv[2] == "unsafe":
    connect = outbox_file.sqlite3.connect
    class Unsafe(outbox_file.sqlite3.Connection):
        def execute(self, statement, *rest):
            return super().execute(statement.replace("synchronous=FULL", "synchronous=OFF"), *rest)
    outbox_file.sqlite3.connect = lambda *args, **options: connect(*args, factory=Unsafe, **options)
outbox = Outbox(Path(sys.argv[1]), max_bytes=1 << 20)
safe = threading.Semaphore(0)
for number in range(int(sys.argv[3])):
    def done(number=number):
        os.write(1, b"safe %d\\n" % number)
        safe.release()
    outbox.put(b"id-%d" % number, Message("topic", bytes([number]) * 9000), done)
    if number % 3 == 2:
        for _ in range(3):
            safe.acquire()
    if number % 6 == 5:
        outbox.discard([b"id-%d" % (number - 5)])
os.write(1, b"end\\n")
os._exit(0)
"""


@dataclass(frozen=True)
class Call:
    """A write, truncation or sync of a file; or, with no file, a message that was said to be safe."""

    kind: str
    file: str = ""
    data: bytes = b""
    at: int = 0


def recorded(folder: Path, mode: str) -> list[Call]:
    database = folder / "outbox.db"
    trace = folder / "trace"
    strace = shutil.which("strace")
    assert strace, "strace is not installed: dev/scripts/need.sh strace"
    calls = "pwrite64,write,fsync,fdatasync,ftruncate"
    subprocess.run(
        [
            strace,
            "-f",
            "-y",
            "-xx",
            "-s",
            "40000",
            "-e",
            f"trace={calls}",
            "-e",
            "signal=none",
            "-o",
            str(trace),
            sys.executable,
            "-c",
            CHILD,
            str(database),
            mode,
            str(MESSAGES),
        ],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    return list(_parsed(trace.read_text(), database.name))


_CALL = re.compile(
    r'(pwrite64|write|fdatasync|fsync|ftruncate)\(\d+<([^>]*)>(?:, "([^"]*)", \d+(?:, (\d+))?|, (\d+))?\)'
)


def _parsed(trace: str, name: str) -> Iterator[Call]:
    assert "unfinished" not in "".join(line for line in trace.splitlines() if name in line), "threads wrote at once"
    for line in trace.splitlines():
        if (match := _CALL.search(line)) is None:
            continue
        call, path, text, at, size = match.groups()
        data = bytes.fromhex(text.replace("\\x", "")) if text else b""
        path = bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path
        file = Path(path).name
        if call == "write" and data.startswith(b"safe "):
            yield Call("safe", data=data.split()[1])
        elif file in (name, f"{name}-wal"):
            if call == "pwrite64":
                yield Call("write", file, data, int(at))
            elif call == "ftruncate":
                yield Call("truncate", file, at=int(size))
            else:
                yield Call("sync", file)


class Disk:
    """Two files as a disk holds them: what is certain, and what may or may not have got there yet."""

    def __init__(self) -> None:
        self.certain: dict[str, bytearray] = {}
        self.pending: dict[str, list[Call]] = {}

    def apply(self, call: Call) -> None:
        if call.kind == "sync":
            for earlier in self.pending.pop(call.file, []):
                _write(self.certain, earlier)
        else:
            self.pending.setdefault(call.file, []).append(call)

    def after_cut(self, chance: random.Random, survives: float) -> dict[str, bytearray]:
        files = {name: bytearray(content) for name, content in self.certain.items()}
        for name, calls in self.pending.items():
            files.setdefault(name, bytearray())  # its name is in the folder since it was opened
            for call in calls:
                if chance.random() < survives:
                    torn = call.kind == "write" and survives < 1 and chance.random() < 0.3
                    _write(
                        files, Call(call.kind, call.file, call.data[: len(call.data) // 2], call.at) if torn else call
                    )
        return files


def _write(files: dict[str, bytearray], call: Call) -> None:
    content = files.setdefault(call.file, bytearray())
    if call.kind == "truncate":
        del content[call.at :]
        content.extend(bytes(call.at - len(content)))
    else:
        content.extend(bytes(max(0, call.at + len(call.data) - len(content))))
        content[call.at : call.at + len(call.data)] = call.data


def lost_in_some_cut(calls: list[Call], folder: Path, seed: int) -> set[int]:
    """The messages that were said to be safe and are gone after a cut at some moment."""
    chance = random.Random(seed)
    disk, safe, lost = Disk(), set[int](), set[int]()
    discarded = {number - 5 for number in range(MESSAGES) if number % 6 == 5}
    for moment, call in enumerate(calls):
        if call.kind == "safe":
            safe.add(int(call.data))
        else:
            disk.apply(call)
        if not safe:
            continue
        for survives in (0.0, 0.5, 1.0):
            place = folder / f"{moment}-{survives}"
            place.mkdir()
            for name, content in disk.after_cut(chance, survives).items():
                (place / name).write_bytes(content)
            file = open_or_set_aside(place / "outbox.db", log_bytes=1 << 16)
            held = {
                kept.id: kept.message.payload for kept in file.take(0, upto=MESSAGES, limit=MESSAGES, max_bytes=1 << 30)
            }
            file.close()
            lost |= {n for n in safe - discarded if held.get(b"id-%d" % n) != bytes([n]) * 9000}
            shutil.rmtree(place)
    return lost


@pytest.mark.parametrize("seed", range(2))
def test_what_was_safe_survives_a_power_cut_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Whatever the disk kept of what was not synced yet."""
    calls = recorded(tmp_path, "safe")
    assert sum(call.kind == "safe" for call in calls) == MESSAGES
    assert sum(call.kind == "sync" for call in calls) >= MESSAGES / 3
    (tmp_path / "cuts").mkdir()
    assert lost_in_some_cut(calls, tmp_path / "cuts", seed) == set()


def test_the_power_cuts_would_show_a_missing_sync(tmp_path: Path) -> None:
    """The same without syncs loses messages: the test above can fail."""
    calls = recorded(tmp_path, "unsafe")
    (tmp_path / "cuts").mkdir()
    assert lost_in_some_cut(calls, tmp_path / "cuts", 1)
