"""The order in which an outbox is emptied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from face_messages import Outbox
from face_messages.custody.send_order import SendOrder
from face_messages.message import Message
from tests.support.parts import numbered, put_and_wait

BACKLOG = 20


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    yield outbox
    outbox.close()


@pytest.fixture
def order(outbox: Outbox) -> SendOrder:
    return SendOrder(outbox, backlog=BACKLOG)


def keep(outbox: Outbox, payloads: list[bytes]) -> None:
    put_and_wait(outbox, [(p[:6], Message("topic", p)) for p in payloads])


def drained(order: SendOrder) -> list[int]:
    return [int(kept.id) for kept in iter(order.next, None)]


def test_without_a_backlog_the_order_is_that_of_arrival(outbox: Outbox, order: SendOrder) -> None:
    """Also over several looks."""
    keep(outbox, numbered(BACKLOG))
    assert drained(order) == list(range(BACKLOG))
    keep(outbox, numbered(5, first=BACKLOG))
    assert drained(order) == list(range(BACKLOG, BACKLOG + 5))
    assert not order._old


def test_a_backlog_goes_oldest_first(outbox: Outbox, order: SendOrder) -> None:
    """Nothing else has arrived meanwhile."""
    keep(outbox, numbered(300))
    assert drained(order) == list(range(300))


def test_what_is_live_waits_for_one_of_the_backlog_and_not_for_all(outbox: Outbox, order: SendOrder) -> None:
    """Both go on in turn, each in its order, and each message comes once."""
    keep(outbox, numbered(300))
    begun = [int(kept.id) for kept in (order.next() for _ in range(10)) if kept is not None]
    keep(outbox, numbered(10, first=300))
    given = drained(order)
    assert begun == list(range(10))
    assert sorted(begun + given) == list(range(310))
    assert [n for n in given if n < 300] == list(range(10, 300))
    assert [n for n in given if n >= 300] == list(range(300, 310))
    assert max(given.index(n) for n in range(300, 310)) <= 2 * 10


def test_what_arrives_faster_than_it_goes_becomes_backlog_in_its_turn(outbox: Outbox, order: SendOrder) -> None:
    """No message is skipped or given twice, however many backlogs follow one another."""
    seen = []
    for burst in range(5):
        keep(outbox, numbered(100, first=burst * 100))
        seen += [int(kept.id) for kept in (order.next() for _ in range(30)) if kept is not None]
    seen += drained(order)
    assert sorted(seen) == list(range(500))


def test_what_was_discarded_meanwhile_is_left_out(tmp_path: Path) -> None:
    """As after a restart, when receipts come for messages of the run before."""
    before = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    keep(before, numbered(300))
    before.close()
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=64 * 1024 * 1024)
    order = SendOrder(outbox, backlog=BACKLOG)
    first = order.next()
    assert first is not None
    outbox.discard([b"%06d" % n for n in range(300)])
    keep(outbox, numbered(1, first=300))
    rest = drained(order)
    assert 300 in rest
    assert 299 not in rest
    assert not order._old
    outbox.close()
