"""The order in which an outbox is emptied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from face_messages import Outbox
from face_messages.custody.send_order import Lanes
from face_messages.message import Message
from tests.support.parts import numbered, put_and_wait

BACKLOG = 20


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    yield outbox
    outbox.close()


@pytest.fixture
def lanes(outbox: Outbox) -> Lanes:
    lanes = Lanes(outbox, backlog=BACKLOG)
    outbox.on_kept = lanes.outbox_has_more
    return lanes


def keep(outbox: Outbox, payloads: list[bytes]) -> None:
    put_and_wait(outbox, [(p[:6], Message("topic", p)) for p in payloads])


def drained(lanes: Lanes) -> list[int]:
    return [int(kept.id) for kept in iter(lanes.next, None)]


def test_without_a_backlog_the_order_is_that_of_arrival(outbox: Outbox, lanes: Lanes) -> None:
    """Also over several looks."""
    keep(outbox, numbered(BACKLOG))
    assert drained(lanes) == list(range(BACKLOG))
    keep(outbox, numbered(5, first=BACKLOG))
    assert drained(lanes) == list(range(BACKLOG, BACKLOG + 5))
    assert not lanes.has_backlog


def test_a_backlog_goes_oldest_first(outbox: Outbox, lanes: Lanes) -> None:
    """Nothing else has arrived meanwhile."""
    keep(outbox, numbered(300))
    assert drained(lanes) == list(range(300))


def test_what_is_live_waits_for_one_of_the_backlog_and_not_for_all(outbox: Outbox, lanes: Lanes) -> None:
    """Both lanes go on in turn, each in its order, and each message comes once."""
    keep(outbox, numbered(300))
    begun = [int(kept.id) for kept in (lanes.next() for _ in range(10)) if kept is not None]
    keep(outbox, numbered(10, first=300))
    order = drained(lanes)
    assert begun == list(range(10))
    assert sorted(begun + order) == list(range(310))
    assert [n for n in order if n < 300] == list(range(10, 300))
    assert [n for n in order if n >= 300] == list(range(300, 310))
    assert max(order.index(n) for n in range(300, 310)) <= 2 * 10


def test_what_arrives_faster_than_it_goes_becomes_backlog_in_its_turn(outbox: Outbox, lanes: Lanes) -> None:
    """No message is skipped or given twice, however many backlogs follow one another."""
    seen = []
    for burst in range(5):
        keep(outbox, numbered(100, first=burst * 100))
        seen += [int(kept.id) for kept in (lanes.next() for _ in range(30)) if kept is not None]
    seen += drained(lanes)
    assert sorted(seen) == list(range(500))


def test_what_was_discarded_meanwhile_is_left_out(tmp_path: Path) -> None:
    """As after a restart, when receipts come for messages of the run before."""
    before = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    keep(before, numbered(300))
    before.close()
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    lanes = Lanes(outbox, backlog=BACKLOG)
    outbox.on_kept = lanes.outbox_has_more
    first = lanes.next()
    assert first is not None
    outbox.discard([b"%06d" % n for n in range(300)])
    keep(outbox, numbered(1, first=300))
    rest = drained(lanes)
    assert 300 in rest
    assert 299 not in rest
    assert not lanes.has_backlog
    outbox.close()
