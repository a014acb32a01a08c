"""A taker acknowledges a message on the connection that brought it, and nowhere else, and holds so much at most.

Packet ids mean something else on the next connection: an acknowledgement there would let go of another message.
"""

from __future__ import annotations

import math
from typing import cast

import pytest

from face_messages import Message, Taken, Taker
from face_messages.message import RECEIPTS_TOPIC, TOPIC, Received
from face_messages.mqtt.client import Link

WITH_RECEIPT = Message(TOPIC, b"x", response_topic=f"{RECEIPTS_TOPIC}/edge1", correlation_data=b"1")


class _Recorded:
    """What a taker does on a connection."""

    may_publish = reading = True

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.published: list[Message] = []

    def acknowledge(self, packet_id: int) -> None:
        self.acknowledged.append(packet_id)

    def publish(self, message: Message) -> None:
        self.published.append(message)

    @property
    def link(self) -> Link:
        return cast("Link", self)


@pytest.fixture
def held() -> list[Taken]:
    return []


@pytest.fixture
def taker(held: list[Taken]) -> Taker:
    return Taker(TOPIC, held.append)


@pytest.mark.parametrize("message", [Message(TOPIC, b"x"), WITH_RECEIPT])
def test_what_is_safe_after_a_reconnect_is_not_acknowledged_there(
    taker: Taker, held: list[Taken], message: Message
) -> None:
    first, second = _Recorded(), _Recorded()
    taker.connected(first.link)
    taker.received(Received(message, packet_id=7))
    taker.disconnected()
    taker.connected(second.link)
    held[0].safe()
    taker.work(math.inf)
    assert first.acknowledged == second.acknowledged == []
    assert len(second.published) == message.wants_receipt


def test_acknowledgements_that_wait_for_their_receipts_end_with_the_connection(taker: Taker, held: list[Taken]) -> None:
    first, second = _Recorded(), _Recorded()
    taker.connected(first.link)
    taker.received(Received(WITH_RECEIPT, packet_id=7))
    held[0].safe()
    taker.work(0.0)
    assert first.acknowledged == []
    taker.disconnected()
    taker.connected(second.link)
    taker.work(math.inf)
    assert second.acknowledged == []
    assert [receipt.payload for receipt in second.published] == [b"1"]


def test_the_acknowledgement_follows_the_receipt(taker: Taker, held: list[Taken]) -> None:
    only = _Recorded()
    taker.connected(only.link)
    taker.received(Received(WITH_RECEIPT, packet_id=7))
    taker.work(math.inf)
    assert (only.acknowledged, only.published) == ([], [])
    held[0].safe()
    taker.work(math.inf)
    assert (only.acknowledged, len(only.published)) == ([7], 1)


def test_while_much_is_held_nothing_more_is_read(taker: Taker, held: list[Taken]) -> None:
    """The broker keeps it: 16 MiB are held at most, and one message more."""
    only = _Recorded()
    taker.connected(only.link)
    while only.reading:
        taker.received(Received(Message(TOPIC, bytes(1024 * 1024)), packet_id=len(held) + 1))
        taker.work(0.0)
        assert len(held) <= 16
    held[0].safe()
    taker.work(0.0)
    assert only.reading


def test_what_becomes_safe_while_answers_are_sent_is_answered_as_well(taker: Taker, held: list[Taken]) -> None:
    """No wake-up is due for it: answers are on their way."""

    class _InBetween(_Recorded):
        def publish(self, message: Message) -> None:
            super().publish(message)
            if len(self.published) == 1:
                held[1].safe()

    link, woken = _InBetween(), list[bool]()
    taker.attach(lambda: woken.append(True))
    taker.connected(link.link)
    for packet_id in (1, 2):
        taker.received(Received(WITH_RECEIPT, packet_id))
    held[0].safe()
    taker.work(0.0)
    assert taker.work(math.inf) == 0.0
    assert woken == [True]
    taker.work(0.0)
    taker.work(math.inf)
    assert link.acknowledged == [1, 2]
