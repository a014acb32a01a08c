"""The cloud broker behind an HTTP proxy."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from dev.stack.mosquitto import ListenerTls, Mosquitto
from face_messages import TlsFiles
from tests.conftest import StartBroker
from tests.support.certificates import Authority
from tests.support.http_proxy import HttpProxy
from tests.support.parts import SendingSide, TakingSide, numbered
from tests.support.programs import forwarder
from tests.support.waiting import eventually

# Nobody is there (RFC 5737), so whatever gets through has gone through the proxy.
CLOUD = "192.0.2.7"
URL = f"mqtts://{CLOUD}:8883"


@dataclass
class Cloud:
    broker: Mosquitto
    files: TlsFiles


@pytest.fixture
def cloud(start_broker: StartBroker, tmp_path: Path) -> Cloud:
    """A broker that passes for CLOUD."""
    ca = Authority(tmp_path)
    server = ca.issue("server", host=CLOUD)
    broker = start_broker(tls=ListenerTls(server.cert, server.key))
    return Cloud(broker, TlsFiles(ca=ca.cert))


@pytest.fixture(autouse=True)
def _no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[HttpProxy]:
    with HttpProxy(leads_to=cloud.broker.port, user=("edge", "hush-hush")) as server:
        yield server


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in list(caplog.records) if record.levelno == logging.WARNING]


def said_about(caplog: pytest.LogCaptureFixture, url: str) -> bool:
    return any(f"cannot use the broker {url} " in line for line in warnings(caplog))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_faces_go_through_it(
    cloud: Cloud, proxy: HttpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Large ones too, and again after it has cut the tunnel, as proxies do with what lasts."""
    monkeypatch.setenv(variable, proxy.url("edge:hush-hush@"))
    with (
        SendingSide(URL, tmp_path / "outbox.db", tls=cloud.files) as edge,
        TakingSide(URL, tls=cloud.files) as keeper,
    ):
        for payload in (*numbered(200), bytes(3 * 1024 * 1024)):
            edge.put(payload)
        eventually(lambda: edge.outbox.confirmed == 201)
        proxy.cut()
        edge.put(b"after the cut")
        eventually(lambda: edge.outbox.confirmed == 202)
        assert b"after the cut" in keeper.payloads
    assert all(request.startswith(f"CONNECT {CLOUD}:8883 HTTP/1.1\n") for request in proxy.requests)


def test_what_it_refuses_is_said_once_without_the_password(
    cloud: Cloud, proxy: HttpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url("edge:wrong-hush@"))
    with SendingSide(URL, tmp_path / "outbox.db", tls=cloud.files) as edge:
        eventually(lambda: len(proxy.requests) >= 3)
        assert not edge.session.is_up
    (line,) = warnings(caplog)
    assert line.startswith(f"cannot use the broker {URL} as edge1: the proxy {proxy.url()} (HTTPS_PROXY) ")
    assert "does not accept user name and password (407" in line
    assert "wrong-hush" not in caplog.text


def test_no_proxy_goes_round_it(
    cloud: Cloud, proxy: HttpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And so do this machine's own brokers. None lets us in: one is not there, the other is not whom it passes for."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url("edge:hush-hush@"))
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")
    for url in (URL, f"mqtts://127.0.0.1:{cloud.broker.port}", f"mqtts://localhost:{cloud.broker.port}"):
        with SendingSide(url, tmp_path / "outbox.db", tls=cloud.files, timeout=0.2):
            eventually(partial(said_about, caplog, url))
    assert proxy.requests == []


def test_the_forwarder_goes_through_it_to_the_cloud_and_straight_to_its_own_broker(
    cloud: Cloud, proxy: HttpProxy, broker: Mosquitto, tmp_path: Path
) -> None:
    settings = {"CLOUD_MQTT_CA_FILE": str(cloud.files.ca), "NO_PROXY": "localhost,127.0.0.1"}
    everywhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "http_proxy"), proxy.url("edge:hush-hush@"))
    with (
        forwarder(tmp_path, broker.url, URL, **settings, **everywhere) as program,
        SendingSide(broker.url, tmp_path / "detector.db", client_id="tx2:camera0") as detector,
    ):
        program.expect("cloud_broker_up", 1)
        program.expect("edge_broker_up", 1)
        detector.put(b"face")
        program.expect("messages_taken_total", 1)
    assert {request.splitlines()[0] for request in proxy.requests} == {f"CONNECT {CLOUD}:8883 HTTP/1.1"}


def test_what_the_proxy_refuses_is_in_healthz(broker: Mosquitto, tmp_path: Path) -> None:
    """As long as it lasts, without the password; and the program goes on."""
    with HttpProxy(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n") as refusing:
        settings = {"HTTPS_PROXY": refusing.url("edge:hush-hush@")}
        with forwarder(tmp_path, broker.url, URL, **settings) as program:
            program.expect("edge_broker_up", 1)
            program.expect_line("does not let this machine connect")
            status, body = program.ask("/healthz")
    health = json.loads(body)
    assert (status, health["cloud_broker"], health["edge_broker_trouble"]) == (200, "down", None)
    assert f"the proxy {refusing.url()} (HTTPS_PROXY) does not let this machine" in health["cloud_broker_trouble"]
    assert "hush" not in body


def test_a_proxy_that_is_none_is_a_wrong_setting(broker: Mosquitto, tmp_path: Path) -> None:
    program = forwarder(tmp_path, broker.url, URL, HTTPS_PROXY="socks5://edge:hush-hush@proxy:1080")
    program.start()
    assert program.wait(20) == 2
    assert "HTTPS_PROXY must begin with http://" in program.log_text()
    assert "hush" not in program.log_text()
