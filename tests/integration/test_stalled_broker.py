"""A broker that takes faces and acknowledges none, as a node of a cluster does that does not see the others."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from face_messages.mqtt import session as session_module
from tests.support.fake_broker import WELCOME, FakeBroker, suback
from tests.support.parts import SendingSide, TakingSide
from tests.support.waiting import eventually, never


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_STALLED_SECONDS", 0.5)


def grant(stalled: FakeBroker) -> None:
    """Its only answer after the greeting."""
    client = stalled.client()
    client.sendall(suback(client.recv(65536)))


def test_of_several_brokers_one_that_acknowledges_nothing_is_left_for_the_next(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeBroker(WELCOME) as stalled, TakingSide(broker.url) as keeper:
        urls = f"{stalled.url},{broker.url}"
        with SendingSide(urls, tmp_path / "outbox.db", resend_after=(60.0, 60.0)) as edge:
            grant(stalled)
            edge.put(b"face")
            eventually(lambda: keeper.payloads == [b"face"], what="it waits for the broker that is stalled")
            eventually(lambda: len(edge.outbox) == 0, what="no receipt")
    (line,) = [record.getMessage() for record in caplog.records if "lost the broker" in record.getMessage()]
    assert f"lost the broker {stalled.url} as edge1: it has acknowledged nothing for" in line
    assert f"trying the next one, {broker.url}" in line


def test_the_only_broker_is_not_left(tmp_path: Path) -> None:
    """There is nowhere to go, and a new connection would bring nothing."""
    with (
        FakeBroker(WELCOME) as stalled,
        SendingSide(stalled.url, tmp_path / "outbox.db", resend_after=(60.0, 60.0)) as edge,
    ):
        grant(stalled)
        edge.put(b"face")
        eventually(lambda: edge.sender.sent == 1, what="nothing was sent")
        never(lambda: stalled.connections > 1, during=1.5)


def test_a_broker_with_nothing_to_acknowledge_is_not_left(broker: Mosquitto, tmp_path: Path) -> None:
    with SendingSide(f"{broker.url},{broker.url}", tmp_path / "outbox.db") as edge:
        eventually(lambda: edge.session.is_up, what="no connection")
        never(lambda: edge.session.connects > 1, during=1.5)


def test_a_second_stalled_broker_is_given_twice_as_long(tmp_path: Path) -> None:
    """All are busy then, and senders that go round with all they have would make it worse."""
    with (
        FakeBroker(WELCOME) as first,
        FakeBroker(WELCOME) as second,
        SendingSide(f"{first.url},{second.url}", tmp_path / "outbox.db", resend_after=(60.0, 60.0)) as edge,
    ):
        grant(first)
        edge.put(b"face")
        grant(second)
        began = time.monotonic()
        first.client(2)
        assert time.monotonic() - began > 0.9
