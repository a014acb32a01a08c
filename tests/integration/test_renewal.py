"""What changes while a program runs: certificates on disk, addresses behind a name, what a broker demands."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from dev.stack.mosquitto import ListenerTls, Mosquitto
from face_messages import TlsFiles
from tests.support.certificates import Authority
from tests.support.fake_broker import FakeBroker
from tests.support.parts import SendingSide
from tests.support.waiting import eventually

# CONNACK of MQTT 5 with Server Keep Alive: 1 s.
HURRIED = bytes.fromhex("20 06 00 00 03 13 00 01")


def test_a_renewed_ca_and_client_certificate_are_used_without_a_restart(tmp_path: Path) -> None:
    """They are read anew for each connection."""
    files = TlsFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    listener = ListenerTls(tmp_path / "server.crt", tmp_path / "server.key", ca=tmp_path / "ca.crt")

    def renew(name: str) -> None:
        ca = Authority(tmp_path, name)
        server, client = ca.issue(f"{name}-server"), ca.issue(f"{name}-client")
        for new, place in (
            *((ca.cert, files.ca), (client.cert, files.cert), (client.key, files.key)),
            *((server.cert, listener.cert), (server.key, listener.key)),
        ):
            assert place is not None
            shutil.copy(new, place)

    renew("first")
    with (
        Mosquitto(tmp_path / "broker", tls=listener) as broker,
        SendingSide(broker.url, tmp_path / "outbox.db", tls=files) as edge,
    ):
        eventually(lambda: edge.session.is_up)
        renew("second")
        broker.restart()
        eventually(lambda: edge.session.connects == 2 and edge.session.is_up)


def test_a_name_is_looked_up_for_each_connection_and_all_its_addresses_are_tried(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VM that was made anew has another address."""
    real = socket.getaddrinfo
    # Nobody listens on the port there, as far as the first ones go.
    answers = [["127.0.0.9"], ["127.0.0.9", "127.0.0.1"]]
    asked: list[str] = []

    def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host != "vm.example.org":
            return real(host, port, *rest, **named)
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [found for address in addresses for found in real(address, port, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with SendingSide(f"mqtt://vm.example.org:{broker.port}", tmp_path / "outbox.db") as edge:
        eventually(lambda: edge.session.is_up)
    assert len(asked) >= 2


def test_the_keepalive_that_a_broker_demands_holds_for_its_connection_only(broker: Mosquitto, tmp_path: Path) -> None:
    with (
        FakeBroker(HURRIED) as hurried,
        SendingSide(f"{hurried.url},{broker.url}", tmp_path / "outbox.db", keepalive=30) as edge,
    ):
        hurried.client()
        eventually(lambda: edge.session._keepalive == 1.0)
        eventually(lambda: edge.session.is_up and edge.session.url.port == broker.port)
        assert edge.session._keepalive == 30.0
