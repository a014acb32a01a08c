"""The outbox: real files, killed processes, full disks and damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from face_messages import Message, Outbox, WhenFull
from face_messages.outbox.database import Kept, OutboxFile
from tests.support.parts import put_and_wait
from tests.support.waiting import eventually, never

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


@contextmanager
def opened(path: Path, *, max_bytes: int = 64 * MIB, when_full: WhenFull = WhenFull.REJECT_NEW) -> Iterator[Outbox]:
    outbox = Outbox(path, max_bytes=max_bytes, when_full=when_full)
    try:
        yield outbox
    finally:
        outbox.close()


def keep(outbox: Outbox, *messages: tuple[bytes, Message]) -> None:
    """Puts them and waits until they are on disk."""
    put_and_wait(outbox, messages)


def held(outbox: Outbox) -> list[Kept]:
    kept: list[Kept] = []
    while more := outbox.take(kept[-1].seq if kept else 0, limit=100_000, max_bytes=1 << 40):
        kept += more
    return kept


def message(payload: bytes = b"x", **properties: Any) -> Message:
    return Message("facedetection_topic", payload, **properties)


def test_a_message_comes_back_as_it_went_in(tmp_path: Path) -> None:
    """Also after a restart; Response Topic and Correlation Data belong to one hop and are not kept."""
    original = Message(
        "facedetection_topic/é",
        bytes(range(256)),
        content_type="image/png",
        user_properties=(("a", '"\\'), ("a", "\U0001f600"), ("", "")),
        response_topic="facedetection_receipts/x",
        correlation_data=b"c",
    )
    with opened(tmp_path / "o.db") as outbox:
        keep(outbox, (b"\xff\x00id", original))
    with opened(tmp_path / "o.db") as outbox:
        (kept,) = held(outbox)
        assert len(outbox) == 1
    assert kept.id == b"\xff\x00id"
    assert kept.message == Message(
        original.topic, original.payload, original.content_type, original.user_properties, None, None
    )


def test_an_id_is_held_once(tmp_path: Path) -> None:
    """A message that comes again is reported as kept, without being held twice."""
    with opened(tmp_path / "o.db") as outbox:
        keep(outbox, (b"1", message()), (b"1", message()))
        keep(outbox, (b"1", message()))
        assert [k.id for k in held(outbox)] == [b"1"]
        assert len(outbox) == 1


def test_another_message_under_a_taken_id_is_kept_as_well(tmp_path: Path) -> None:
    """Whatever its sender did wrong: the first keeps the id, the second goes on under one of its own."""
    with opened(tmp_path / "o.db") as outbox:
        keep(outbox, (b"1", message(b"first")), (b"1", message(b"second")))
        first, second = held(outbox)
        assert (first.id, first.message.payload) == (b"1", b"first")
        assert second.id != b"1"
        assert second.message.payload == b"second"


def test_the_order_of_arrival_outlives_a_restart(tmp_path: Path) -> None:
    """Places in the order are never given twice, so that a sender's cursor misses nothing."""
    path = tmp_path / "o.db"
    with opened(path) as outbox:
        keep(outbox, *((b"%d" % i, message(b"%d" % i)) for i in range(100)))
        outbox.discard([b"%d" % i for i in range(90, 100)])
        eventually(lambda: len(outbox) == 90)
        last = held(outbox)[-1].seq
    with opened(path) as outbox:
        keep(outbox, (b"new", message(b"new")))
        kept = held(outbox)
        assert [k.id for k in kept] == [b"%d" % i for i in range(90)] + [b"new"]
        assert kept[-1].seq > last + 10


def test_take_gives_bounded_pieces_and_always_one(tmp_path: Path) -> None:
    """By number and by bytes."""
    with opened(tmp_path / "o.db") as outbox:
        keep(outbox, *((b"%d" % i, message(bytes(1000))) for i in range(10)))
        assert len(outbox.take(0, limit=3, max_bytes=1 << 30)) == 3
        assert len(outbox.take(0, limit=100, max_bytes=2500)) == 3
        assert len(outbox.take(0, limit=100, max_bytes=1)) == 1
        seventh = held(outbox)[6]
        assert outbox.get(seventh.id, seventh.seq) == seventh
        assert [k.seq for k in outbox.take(seventh.seq, limit=1, max_bytes=1)] == [seventh.seq + 1]
        assert outbox.get(b"other", 10_000) is None


def test_what_was_reported_as_kept_survives_kill_9(tmp_path: Path) -> None:
    """Several times over: the child is killed at the moment of a report."""
    reported: set[bytes] = set()
    for round_number in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", _PUTTING_CHILD, str(tmp_path / "o.db"), str(round_number)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            reported.add(line.strip())
            if count == 20 + 37 * round_number:
                os.kill(child.pid, signal.SIGKILL)
                break
        reported |= {line.strip() for line in child.stdout if line.endswith(b"\n")}
        child.wait(10)
        child.stdout.close()
    with opened(tmp_path / "o.db") as outbox:
        kept = {k.id: k.message.payload for k in held(outbox)}
    assert reported <= set(kept)
    assert all(payload == message_id * 500 for message_id, payload in kept.items())


_PUTTING_CHILD = """
import os, sys
from pathlib import Path
from face_messages import Message, Outbox
outbox = Outbox(Path(sys.argv[1]), max_bytes=64 << 20)
for i in range(10_000):
    message_id = b"%s-%d" % (sys.argv[2].encode(), i)
    outbox.put(message_id, Message("t", message_id * 500), lambda m=message_id: os.write(1, m + b"\\n"))
"""


def test_messages_that_come_together_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group commit: what gathers while one transaction is written goes into the next."""
    commits = 0
    transaction = OutboxFile.transaction

    def counted(self: OutboxFile) -> Any:
        nonlocal commits
        commits += 1
        return transaction(self)

    monkeypatch.setattr(OutboxFile, "transaction", counted)
    with opened(tmp_path / "o.db") as outbox:
        keep(outbox, *((b"%d" % i, message()) for i in range(1000)))
    assert commits < 100


def test_a_full_outbox_waits_for_room_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """reject-new: `done` just is not called until a discard makes room; said once, and the order stays."""
    done: list[int] = []
    with opened(tmp_path / "o.db", max_bytes=1 * MIB) as outbox:
        for i in range(40):
            outbox.put(b"%d" % i, message(bytes(40_000)), partial(done.append, i))
        eventually(lambda: outbox.trouble)
        count = len(done)
        assert 0 < count < 40
        never(lambda: len(done) > count, during=0.2)
        outbox.discard([b"0", b"1", b"2"])
        eventually(lambda: len(done) == count + 3)
        while len(done) < 40:
            outbox.discard([b"%d" % i for i in done])
            time.sleep(0.01)
        assert done == list(range(40))
        outbox.discard([b"%d" % i for i in done])
        eventually(lambda: len(outbox) == 0 and outbox.trouble is None)
        assert outbox.overwritten == 0
    assert len([r for r in caplog.records if "is full" in r.getMessage()]) == 1


def test_a_full_outbox_confirms_again_what_it_holds(tmp_path: Path) -> None:
    """A message that is held already needs no room: its sender, who missed the receipt, gets another."""
    with opened(tmp_path / "o.db", max_bytes=1 * MIB) as outbox:
        for i in range(40):
            outbox.put(b"%d" % i, message(bytes(40_000)), lambda: None)
        eventually(lambda: outbox.trouble)
        stop = threading.Event()
        threading.Timer(3, stop.set).start()
    with opened(tmp_path / "o.db", max_bytes=1 * MIB) as outbox:
        again = threading.Event()
        outbox.put(b"0", message(bytes(40_000)), again.set)
        assert again.wait(5)


def test_the_newest_overwrite_the_oldest_where_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """overwrite-oldest: all are taken, the oldest go, and each that goes is counted; said once an episode."""
    with opened(tmp_path / "o.db", max_bytes=1 * MIB, when_full=WhenFull.OVERWRITE_OLDEST) as outbox:
        for start in range(0, 100, 10):
            keep(outbox, *((b"%d" % i, message(bytes(40_000))) for i in range(start, start + 10)))
        kept = [int(k.id) for k in held(outbox)]
        assert kept == list(range(100 - len(kept), 100))
        assert len(kept) == len(outbox)
        assert outbox.overwritten == 100 - len(kept)
        assert 10 < len(kept) < 30
    assert len([r for r in caplog.records if "overwrite the oldest" in r.getMessage()]) == 1


def test_a_message_that_comes_again_overwrites_nothing(tmp_path: Path) -> None:
    """A full outbox that holds it already loses none of the others for it."""
    with opened(tmp_path / "o.db", max_bytes=1 * MIB, when_full=WhenFull.OVERWRITE_OLDEST) as outbox:
        keep(outbox, *((b"%d" % i, message(bytes(40_000))) for i in range(50)))
        before, overwritten = [k.id for k in held(outbox)], outbox.overwritten
        keep(outbox, *((message_id, message(bytes(40_000))) for message_id in before))
        assert [k.id for k in held(outbox)] == before
        assert outbox.overwritten == overwritten


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"user_properties": (("n", "é" * 15_000),) * 4},
        {"user_properties": (("n", "\U0001f600" * 10_000),) * 4},
        {"user_properties": (("n", '"\\\t' * 10_000),) * 4},
        {"user_properties": (("a", "b"),) * 5_000},
        {"content_type": "é" * 30_000},
    ],
    ids=["payload", "accents", "emoji", "escapes", "many", "content type"],
)
def test_the_files_stay_within_their_bound(tmp_path: Path, properties: dict[str, Any]) -> None:
    """Whatever a message's bytes are made of."""
    bound = 4 * MIB
    largest = 0
    with opened(tmp_path / "o.db", max_bytes=bound, when_full=WhenFull.OVERWRITE_OLDEST) as outbox:
        for i in range(150):
            keep(outbox, (b"%d" % i, message(bytes(40_000), **properties)))
            largest = max(largest, sum(f.stat().st_size for f in tmp_path.glob("o.db*") if f.suffix != ".db-shm"))
        assert outbox.overwritten > 0
    assert largest <= bound


def test_an_undeliverable_message_goes_out_of_the_way(tmp_path: Path) -> None:
    """It stays on disk, counted, and is not taken again, also after a restart."""
    path = tmp_path / "o.db"
    with opened(path) as outbox:
        keep(outbox, (b"1", message(b"one")), (b"2", message(b"two")))
        outbox.dead_letter(b"1", "too large")
        eventually(lambda: outbox.totals.dead_letters == 1)
        assert [k.id for k in held(outbox)] == [b"2"]
    with opened(path) as outbox:
        assert (len(outbox), outbox.totals.dead_letters) == (1, 1)
        outbox.discard([b"1"])
        eventually(lambda: outbox.totals.dead_letters == 0)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped", "header"])
def test_a_damaged_file_is_kept_aside_and_the_work_goes_on(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under a name that tells what it is; nothing of it is deleted."""
    path = tmp_path / "o.db"
    if damage == "garbage":
        path.write_bytes(b"this is no database, and long enough to be read as one" * 100)
    else:
        with opened(path) as outbox:
            keep(outbox, *((b"%d" % i, message(bytes([i]) * 30_000)) for i in range(50)))
        content = bytearray(path.read_bytes())
        if damage == "truncated":
            del content[len(content) // 2 :]
        elif damage == "flipped":
            for page in range(2 * 8192, len(content), 8192):
                content[page : page + 64] = os.urandom(64)
        else:
            content[:100] = bytes(100)
        path.write_bytes(content)
    damaged = path.read_bytes()
    with opened(path) as outbox:
        keep(outbox, (b"new", message(b"new")))
        assert b"new" in [k.id for k in held(outbox)]
    (aside,) = tmp_path.glob("o.db.damaged-*[0-9Z]")
    assert aside.read_bytes() == damaged
    (line,) = [r.getMessage() for r in caplog.records if "is damaged" in r.getMessage()]
    assert aside.name in line


def test_several_damaged_files_are_all_kept(tmp_path: Path) -> None:
    """Also two within the same second."""
    for i in range(3):
        (tmp_path / "o.db").write_bytes(b"garbage" * 1000 + b"%d" % i)
        with opened(tmp_path / "o.db"):
            pass
        (tmp_path / "o.db").unlink()
    assert len({f.read_bytes() for f in tmp_path.glob("o.db.damaged-*")}) == 3


@pytest.mark.parametrize("place", ["file/o.db", ""])
def test_a_place_that_cannot_be_written_is_trouble(tmp_path: Path, place: str) -> None:
    """Naming the place."""
    (tmp_path / "file").touch()
    with opened(tmp_path / place) as outbox:
        assert not outbox.disk_works
        assert outbox.trouble is not None
        assert str((tmp_path / place).parent if place else tmp_path) in outbox.trouble


def test_a_locked_file_is_not_taken_for_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds the file is no reason to set it aside."""
    path = tmp_path / "o.db"
    with opened(path) as outbox:
        keep(outbox, (b"1", message()))
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.1}))
    other = connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM outbox WHERE id = x'00'")
    with opened(path) as outbox:
        assert outbox.trouble is not None
        assert "locked" in outbox.trouble
    other.close()
    with opened(path) as outbox:
        assert len(outbox) == 1
    assert not list(tmp_path.glob("*.damaged-*"))


def test_closing_commits_what_still_fits(tmp_path: Path) -> None:
    """What was put a moment ago is in the file afterwards."""
    done: list[bytes] = []
    with opened(tmp_path / "o.db") as outbox:
        for i in range(500):
            outbox.put(b"%d" % i, message(), partial(done.append, b"%d" % i))
    with opened(tmp_path / "o.db") as outbox:
        assert [k.id for k in held(outbox)] == done == [b"%d" % i for i in range(500)]


def test_closing_a_full_outbox_ends_at_once_and_confirms_nothing_more(tmp_path: Path) -> None:
    """What had no room is with its sender still."""
    done: list[int] = []
    with opened(tmp_path / "o.db", max_bytes=1 * MIB) as outbox:
        for i in range(100):
            outbox.put(b"%d" % i, message(bytes(40_000)), partial(done.append, i))
        eventually(lambda: outbox.trouble)
        before = time.monotonic()
    assert time.monotonic() - before < 20
    with opened(tmp_path / "o.db", max_bytes=1 * MIB) as outbox:
        assert [int(k.id) for k in held(outbox)] == done


def test_the_file_shrinks_when_it_was_large_and_is_empty(tmp_path: Path) -> None:
    """An outage's backlog does not occupy the disk for ever."""
    path = tmp_path / "o.db"
    with opened(path, max_bytes=128 * MIB) as outbox:
        keep(outbox, *((b"%d" % i, message(bytes(1 * MIB))) for i in range(48)))
        assert path.stat().st_size > 32 * MIB
        outbox.discard([b"%d" % i for i in range(48)])
        eventually(lambda: path.stat().st_size < 1 * MIB)


def test_the_age_of_the_oldest_message_is_told(tmp_path: Path) -> None:
    """0 where there is none."""
    with opened(tmp_path / "o.db") as outbox:
        assert outbox.oldest_age() == 0
        keep(outbox, (b"1", message()))
        assert 0 <= outbox.oldest_age() < 60
    assert outbox.oldest_age() == 0  # it is closed; whoever asks for figures may be late
