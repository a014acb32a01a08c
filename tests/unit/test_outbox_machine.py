"""An outbox and its order under any order of events: what is put is given out once, and again after a restart.

Hypothesis draws the events (https://hypothesis.readthedocs.io/en/latest/stateful.html) and shrinks a failure to the
shortest story that tells it.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from face_messages import Message, Outbox
from face_messages.custody import send_order as order
from face_messages.custody.send_order import SendOrder
from face_messages.outbox import outbox
from face_messages.outbox.database import Kept
from tests.support.parts import on_disk
from tests.support.waiting import eventually

_BACKLOG = 6
_BYTES = 20_000


class OutboxMachine(RuleBasedStateMachine):
    """The model: which messages are to be delivered, and which of them this run has given out."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-machine-"))
        self.path = self.folder / "outbox.db"
        self.count = 0
        self.held: dict[bytes, Message] = {}
        self.dead: set[bytes] = set()
        self.safe: set[bytes] = set()
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.path, max_bytes=1 << 30)
        self.order = SendOrder(self.outbox, backlog=_BACKLOG)
        self.given: dict[bytes, Kept] = {}
        self.last_seq = self.outbox.last_seq

    def settle(self) -> None:
        eventually(lambda: self.outbox.last_seq == self.last_seq and len(self.outbox) == len(self.held))
        eventually(lambda: self.outbox.totals.dead_letters == len(self.dead))

    @rule(how_many=st.integers(3, 9))
    def put_some_that_wait(self, how_many: int) -> None:
        """Their sender keeps them."""
        self.put(how_many, may_wait=True)

    @rule(how_many=st.integers(1, 9))
    def put_some(self, how_many: int) -> None:
        """Nobody else has them."""
        self.put(how_many, may_wait=False)

    def put(self, how_many: int, *, may_wait: bool) -> None:
        self.outbox.write_delay = 60.0
        for _ in range(how_many):
            self.count += 1
            message_id = b"%d" % self.count
            self.held[message_id] = Message("t", message_id.ljust(_BYTES))
            self.last_seq += 1
            report = partial(self.safe.add, message_id)
            self.outbox.put(message_id, self.held[message_id], report, may_wait=may_wait)
        self.settle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        """Its sender has missed the receipt."""
        message_id = data.draw(st.sampled_from(sorted(self.held)))
        self.outbox.put(message_id, self.held[message_id], lambda: self.safe.add(message_id))
        self.settle()

    @rule(how_many=st.integers(1, 12))
    def give_out(self, how_many: int) -> None:
        """Each once, and only what is to be delivered."""
        for _ in range(how_many):
            if (kept := self.order.next()) is None:
                assert self.given.keys() >= self.held.keys()
                return
            assert kept.id not in self.given
            assert kept.message == self.held.get(kept.id, kept.message)
            self.given[kept.id] = kept

    @precondition(lambda self: self.given.keys() & self.held.keys())
    @rule(data=st.data(), refused=st.booleans())
    def confirm(self, data: st.DataObject, refused: bool) -> None:
        """The next keeper has it, or will never have it."""
        message_id = data.draw(st.sampled_from(sorted(self.given.keys() & self.held.keys())))
        del self.held[message_id]
        if refused:
            self.dead.add(message_id)
            self.outbox.dead_letter(message_id, "refused")
        else:
            self.outbox.discard([message_id])
        self.settle()
        eventually(lambda: message_id in self.safe)

    @rule()
    def restart(self) -> None:
        """All that is not confirmed is on disk then, and is given out anew."""
        self.outbox.close()
        assert self.safe >= self.held.keys()
        assert on_disk(self.path) == list(self.held)
        self.open()

    @invariant()
    def what_was_given_out_can_be_had_again(self) -> None:
        for message_id in self.given.keys() & self.held.keys():
            kept = self.outbox.get(message_id, self.given[message_id].seq)
            assert kept is not None
            assert kept.message == self.held[message_id]

    def teardown(self) -> None:
        for _ in range(len(self.held) + 1):
            self.give_out(1)
        assert self.given.keys() >= self.held.keys()
        self.outbox.close()
        shutil.rmtree(self.folder)


def test_any_order_of_events_keeps_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little memory and rows that go at once, so that a short story meets every case."""
    monkeypatch.setattr(outbox, "_CACHE_BYTES", _BYTES)
    monkeypatch.setattr(outbox, "_TIDY_SECONDS", 0.0)
    monkeypatch.setattr(order, "_PREFETCH", 2)
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=35,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
