"""Messages that need not be written to the disk, since the next keeper is quick."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from face_messages import Message, Outbox
from face_messages.outbox.database import Kept
from face_messages.outbox.writer import Outcome, Writer
from tests.support.parts import on_disk
from tests.support.waiting import eventually

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    outbox = Outbox(path, max_bytes=64 * MIB)
    outbox.write_delay = 60.0
    yield outbox
    outbox.close()


def put(outbox: Outbox, *ids: bytes, may_wait: bool = True, size: int = 1000) -> list[bytes]:
    """Puts a message under each id; the list fills with the ids of those that are safe."""
    done: list[bytes] = []
    for message_id in ids:
        outbox.put(message_id, Message("t", message_id * size), partial(done.append, message_id), may_wait=may_wait)
    return done


def taken(outbox: Outbox, after: int = 0) -> list[bytes]:
    return [kept.id for kept in outbox.take(after, limit=1000, max_bytes=1 << 40)]


def test_what_the_next_keeper_confirms_in_time_is_never_written(outbox: Outbox, path: Path) -> None:
    """It is given out at once, and safe when it is confirmed."""
    done = put(outbox, b"1", b"2")
    eventually(lambda: outbox.last_seq == 2)
    assert taken(outbox) == [b"1", b"2"]
    assert done == []
    outbox.discard([b"1", b"2"])
    eventually(lambda: done == [b"1", b"2"])
    assert (len(outbox), outbox.confirmed, outbox.written, on_disk(path)) == (0, 2, 0, [])


def test_what_is_not_confirmed_in_time_is_written(outbox: Outbox, path: Path) -> None:
    """And safe by that; those that came after it are written with it."""
    outbox.write_delay = 0.2
    done = put(outbox, b"1")
    outbox.write_delay = 60.0
    done_later = put(outbox, b"2")
    eventually(lambda: done == [b"1"] and done_later == [b"2"])
    assert on_disk(path) == [b"1", b"2"]
    assert outbox.written == 2


def test_what_nobody_else_holds_is_written_at_once(outbox: Outbox, path: Path) -> None:
    """Also where the next keeper is quick."""
    done = put(outbox, b"1", may_wait=False)
    eventually(lambda: done)
    assert on_disk(path) == [b"1"]


def test_what_comes_together_is_written_together(outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the delay, though nobody else holds it; and what is confirmed before that is not written."""
    groups: list[int] = []
    commit = Writer.commit

    def counted(self: Writer, group: Sequence[Kept], *more: Any) -> Outcome | None:
        groups.append(len(group))
        return commit(self, group, *more)

    monkeypatch.setattr(Writer, "commit", counted)
    outbox.gather_delay = 60.0
    sooner = put(outbox, b"0", may_wait=False)
    outbox.discard([b"0"])
    eventually(lambda: sooner == [b"0"])
    outbox.gather_delay = 0.2
    done = put(outbox, b"1", b"2", b"3", may_wait=False)
    assert taken(outbox) == [b"1", b"2", b"3"]
    eventually(lambda: len(done) == 3)
    assert on_disk(path) == [b"1", b"2", b"3"]
    assert groups == [3]


def test_what_was_given_out_can_be_had_again(outbox: Outbox) -> None:
    """Its first try may have been lost; until it is confirmed it is there, written or not."""
    put(outbox, b"1")
    (kept,) = outbox.take(0, limit=1, max_bytes=1)
    assert taken(outbox, kept.seq) == []
    assert outbox.get(b"1", kept.seq) == kept
    put(outbox, b"2", may_wait=False)
    eventually(lambda: outbox.written == 2)
    assert outbox.get(b"1", kept.seq) == kept
    outbox.discard([b"1"])
    eventually(lambda: outbox.get(b"1", kept.seq) is None)


def test_what_comes_twice_is_given_out_once_and_both_are_told(outbox: Outbox) -> None:
    """As when the sender before has lost its link."""
    first, again = put(outbox, b"1"), put(outbox, b"1")
    assert taken(outbox) == [b"1"]
    outbox.discard([b"1"])
    eventually(lambda: first == [b"1"] and again == [b"1"])
    assert outbox.confirmed == 1


def test_another_message_under_the_id_of_one_that_waits_goes_on_under_its_own(outbox: Outbox) -> None:
    """Neither vanishes, and neither replaces the other."""
    put(outbox, b"1")
    put(outbox, b"1", size=5)
    first, second = outbox.take(0, limit=10, max_bytes=1 << 30)
    assert (first.id, len(first.message.payload)) == (b"1", 1000)
    assert second.id != b"1"
    assert second.message.payload == b"1" * 5


def test_a_waiting_message_becomes_a_dead_letter_on_disk(outbox: Outbox, path: Path) -> None:
    """It was refused before it had to be written."""
    done = put(outbox, b"1", b"2")
    outbox.dead_letter(b"1", "too large")
    eventually(lambda: outbox.totals.dead_letters == 1)
    assert sorted(done) == [b"1", b"2"]
    assert on_disk(path) == [b"2"]


def test_closing_writes_what_waits(outbox: Outbox, path: Path) -> None:
    """The end of the program is no reason to ask its sender again."""
    done = put(outbox, b"1", b"2")
    outbox.close()
    assert done == [b"1", b"2"]
    assert on_disk(path) == [b"1", b"2"]
    again = Outbox(path, max_bytes=64 * MIB)
    assert taken(again) == [b"1", b"2"]
    again.close()


def test_a_full_outbox_still_lets_through_what_is_confirmed(path: Path) -> None:
    """Nothing more fits on the disk, but the link is up: faces do not wait for the disk."""
    outbox = Outbox(path, max_bytes=1 * MIB)
    put(outbox, *(b"%d" % i for i in range(40)), may_wait=False, size=20_000)
    eventually(lambda: outbox.trouble)
    outbox.write_delay = 60.0
    passed = put(outbox, b"through")
    eventually(lambda: b"through" in taken(outbox, after=39))
    outbox.discard([b"through"])
    eventually(lambda: passed == [b"through"])
    assert b"through" not in on_disk(path)
    outbox.close()


def test_an_outbox_has_one_program(outbox: Outbox, path: Path) -> None:
    """Two would send each other's messages, and lose count of them; told with the file's name."""
    assert len(outbox) == 0
    with pytest.raises(OSError, match=r"outbox\.db is in use by another program"):
        Outbox(path, max_bytes=64 * MIB)


def test_a_file_is_small_again_though_messages_keep_coming(path: Path) -> None:
    """The backlog's space is given back while there is always something in the outbox."""
    outbox = Outbox(path, max_bytes=256 * MIB)
    backlog = [b"%d" % i for i in range(50)]
    put(outbox, *backlog, may_wait=False, size=1 * MIB)
    eventually(lambda: outbox.written == len(backlog))
    assert path.stat().st_size > 32 * MIB
    stop = threading.Event()

    def live() -> None:
        number = 0
        while not stop.wait(0.01):
            outbox.put(b"live%d" % number, Message("t", bytes(20_000)), lambda: None)
            outbox.discard([b"live%d" % (number - 5)])
            number += 1

    thread = threading.Thread(target=live)
    thread.start()
    try:
        outbox.discard(backlog)
        eventually(lambda: path.stat().st_size < 8 * MIB)
        assert len(outbox) > 0
    finally:
        stop.set()
        thread.join()
        outbox.close()
