"""The connection to a broker: TLS, credentials, status, links that die silently, brokers that refuse."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dev.stack.mosquitto import ListenerTls, Mosquitto
from dev.stack.proxy import Proxy
from face_messages import TlsFiles
from face_messages.message import RECEIPTS_TOPIC, STATUS_TOPIC, TOPIC
from tests.conftest import StartBroker
from tests.support.certificates import Authority
from tests.support.fake_broker import WELCOME, FakeBroker
from tests.support.parts import SendingSide, TakingSide, numbered
from tests.support.plain import listening
from tests.support.waiting import eventually, never


def lines(caplog: pytest.LogCaptureFixture, *, about: str) -> list[str]:
    """What was logged with this text in it."""
    return [text for r in list(caplog.records) if about in (text := r.getMessage())]


def deliver(edge: SendingSide, keeper: TakingSide, count: int = 50) -> None:
    """Sends some messages and waits until they are confirmed."""
    before = edge.outbox.confirmed
    for payload in numbered(count):
        edge.put(payload)
    eventually(lambda: edge.outbox.confirmed == before + count)
    assert sorted(keeper.payloads[-count:]) == numbered(count)


def test_mqtts_trusts_the_named_ca(start_broker: StartBroker, tmp_path: Path) -> None:
    """Large messages too, and many: what TLS buffers is not forgotten."""
    ca = Authority(tmp_path)
    server = ca.issue("server")
    broker = start_broker(tls=ListenerTls(server.cert, server.key))
    files = TlsFiles(ca=ca.cert)
    with (
        TakingSide(broker.url, tls=files) as keeper,
        SendingSide(broker.url, tmp_path / "outbox.db", tls=files) as edge,
    ):
        deliver(edge, keeper, 500)
        large = bytes(range(256)) * 4096 * 7
        edge.put(large)
        eventually(lambda: edge.outbox.confirmed == 501)
        assert keeper.payloads[-1] == large


def test_a_certificate_of_another_ca_is_refused_with_a_clear_line(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, tried again, and nothing is sent."""
    server = Authority(tmp_path, "theirs").issue("server")
    broker = start_broker(tls=ListenerTls(server.cert, server.key))
    files = TlsFiles(ca=Authority(tmp_path, "ours").cert)
    with SendingSide(broker.url, tmp_path / "outbox.db", tls=files) as edge:
        (line,) = eventually(lambda: lines(caplog, about="cannot use the broker"))
        assert "certificate verify failed" in line
        never(lambda: edge.session.is_up, during=0.5)
    assert len(lines(caplog, about="cannot use the broker")) == 1


def test_a_certificate_for_another_host_is_refused(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The right CA is not enough."""
    ca = Authority(tmp_path)
    server = ca.issue("server", host="192.0.2.1")
    broker = start_broker(tls=ListenerTls(server.cert, server.key))
    with SendingSide(broker.url, tmp_path / "outbox.db", tls=TlsFiles(ca=ca.cert)):
        (line,) = eventually(lambda: lines(caplog, about="cannot use the broker"))
    assert "IP address mismatch" in line


def test_a_client_certificate_is_shown_where_the_broker_wants_one(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the refusal is told; it may be put in place while the program runs."""
    ca = Authority(tmp_path)
    server, client = ca.issue("server"), ca.issue("client")
    broker = start_broker(tls=ListenerTls(server.cert, server.key, ca=ca.cert))
    with SendingSide(broker.url, tmp_path / "outbox.db", tls=TlsFiles(ca=ca.cert)) as edge:
        eventually(lambda: lines(caplog, about="cannot use the broker mqtts://"))
        assert edge.session.connects == 0
    files = TlsFiles(ca=ca.cert, cert=client.cert, key=client.key)
    with (
        TakingSide(broker.url, tls=files) as keeper,
        SendingSide(broker.url, tmp_path / "outbox.db", tls=files) as edge,
    ):
        deliver(edge, keeper)


def test_mqtt_to_a_tls_port_and_the_other_way_round_are_told(
    start_broker: StartBroker, broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither hangs nor floods."""
    ca = Authority(tmp_path)
    server = ca.issue("server")
    tls_broker = start_broker(tls=ListenerTls(server.cert, server.key))
    for url in (tls_broker.url.replace("mqtts", "mqtt"), broker.url.replace("mqtt", "mqtts")):
        with SendingSide(url, tmp_path / "outbox.db", tls=TlsFiles(ca=ca.cert)):
            eventually(partial(lines, caplog, about=f"cannot use the broker {url}"))


def test_a_wrong_password_is_one_clear_line_and_never_shown(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, since somebody may mend it at the broker."""
    caplog.set_level(logging.DEBUG)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "edge", "right"], check=True)
    broker = start_broker(config_lines=["allow_anonymous false", f"password_file {passwords}"])
    wrong = broker.url.replace("//", "//edge:hush-hush@")
    with SendingSide(wrong, tmp_path / "outbox.db") as edge:
        (line,) = eventually(lambda: lines(caplog, about="cannot use the broker"))
        assert "refuses the user name or password" in line or "does not let this client in" in line
        never(lambda: edge.session.is_up, during=0.5)
        assert len(lines(caplog, about="cannot use the broker")) == 1
        subprocess.run(["mosquitto_passwd", "-b", passwords, "edge", "hush-hush"], check=True)
        broker.reload()
        eventually(lambda: edge.session.is_up)
        eventually(lambda: lines(caplog, about="connected to the broker"))
    assert "hush-hush" not in caplog.text


def test_the_status_is_retained_and_tells_the_truth(broker: Mosquitto, tmp_path: Path) -> None:
    """`online` while connected, `offline` after an orderly end."""
    topic = f"{STATUS_TOPIC}/edge1"
    with SendingSide(broker.url, tmp_path / "outbox.db"), listening(broker.port, f"{STATUS_TOPIC}/#") as statuses:
        eventually(lambda: statuses.last_on(topic) == b"online")
    with listening(broker.port, f"{STATUS_TOPIC}/#") as statuses:
        eventually(lambda: statuses.last_on(topic) == b"offline")
        assert statuses.messages[0].retain


def test_the_last_will_says_offline_for_a_killed_client(broker: Mosquitto, tmp_path: Path) -> None:
    """`kill -9` leaves no time to say so oneself."""
    topic = f"{STATUS_TOPIC}/edge1"
    with listening(broker.port, f"{STATUS_TOPIC}/#") as statuses:
        child = subprocess.Popen(
            [sys.executable, "-c", _IDLE_CHILD, broker.url, str(tmp_path / "outbox.db")], cwd=Path(__file__).parents[2]
        )
        eventually(lambda: statuses.last_on(topic) == b"online")
        child.kill()
        child.wait(10)
        eventually(lambda: statuses.last_on(topic) == b"offline")
    with listening(broker.port, f"{STATUS_TOPIC}/#") as statuses:
        eventually(lambda: statuses.last_on(topic) == b"offline")


_IDLE_CHILD = """
import sys, threading
from pathlib import Path
from tests.support.parts import SendingSide
with SendingSide(sys.argv[1], Path(sys.argv[2])):
    threading.Event().wait()
"""


def test_two_clients_under_one_id_are_told(broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They throw each other out with growing pauses; that they do is in the log."""
    with SendingSide(broker.url, tmp_path / "a.db", client_id="twin") as a:
        eventually(lambda: a.session.is_up)
        with SendingSide(broker.url, tmp_path / "b.db", client_id="twin") as b:
            eventually(lambda: a.session.connects >= 3)
            assert b.session.connects < 100
    assert lines(caplog, about="lost the broker")


@pytest.mark.parametrize("side", ["sender", "taker"])
def test_a_link_that_swallows_everything_is_noticed(
    broker: Mosquitto, tmp_path: Path, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection stays open and nothing comes back: it is given up, and all arrives over the next one."""
    with (
        Proxy(broker.port) as link,
        TakingSide(link.url if side == "taker" else broker.url, keepalive=1) as keeper,
        SendingSide(link.url if side == "sender" else broker.url, tmp_path / "outbox.db", keepalive=1) as edge,
    ):
        deliver(edge, keeper)
        link.swallow = True
        for payload in numbered(50, first=50):
            edge.put(payload)
        eventually(lambda: lines(caplog, about="nothing was heard of the broker") or link.connections > 1)
        link.swallow = False
        link.cut()
        eventually(lambda: edge.outbox.confirmed == 100)
        assert set(keeper.payloads) == set(numbered(100))


@pytest.mark.parametrize("side", ["sender", "taker"])
def test_a_message_that_takes_longer_than_the_keepalive_gets_through(
    broker: Mosquitto, tmp_path: Path, side: str
) -> None:
    """A slow link is no dead link: bytes that move are a sign of life."""
    with (
        Proxy(broker.port) as link,
        TakingSide(link.url if side == "taker" else broker.url, keepalive=1) as keeper,
        SendingSide(link.url if side == "sender" else broker.url, tmp_path / "outbox.db", keepalive=1) as edge,
    ):
        eventually(lambda: edge.session.is_up)
        link.rate = 1_000_000
        edge.put(bytes(3_000_000))
        eventually(lambda: edge.outbox.confirmed == 1)
        assert len(keeper.messages) == 1
        assert link.connections == 1


def test_a_broker_that_takes_connections_and_says_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not hold up the end of the program either."""
    with FakeBroker(b"") as silent, SendingSide(silent.url, tmp_path / "outbox.db", timeout=0.3):
        eventually(lambda: silent.connections >= 2)
        before = time.monotonic()
    assert time.monotonic() - before < 5
    (line,) = lines(caplog, about="cannot use the broker")
    assert "does not answer" in line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("20 03 00 87 00", "does not let this client in"),
        ("20 03 00 86 00", "user name or password"),
        ("20 03 00 84 00", "does not speak MQTT 5"),
        ("20 02 00 01", "must speak MQTT 5"),  # how a broker of MQTT 3.1.1 refuses
        ("20 03 00 88 00", "Server unavailable"),
        ("20 03 00 77 00", ""),  # a reason that does not exist
        ("d0 00", "something else than CONNACK"),
        ("48 54 54 50 2f 31 2e 31 20 34 30 30", ""),  # HTTP/1.1 400
        ("20 ff ff ff ff ff", "not MQTT"),
        ("00 00", ""),
        ("20 03 00 00", ""),
    ],
)
def test_a_refusing_or_strange_broker_is_one_line_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: str, said: str
) -> None:
    """Whatever it answers, the thread lives."""
    with (
        FakeBroker(bytes.fromhex(answer)) as fake,
        SendingSide(fake.url, tmp_path / "outbox.db", timeout=0.3) as edge,
    ):
        eventually(lambda: fake.connections >= 3)
        assert edge.session.is_alive
        assert not edge.session.is_up
    (line,) = lines(caplog, about="the broker mqtt://")
    assert said in line


@pytest.mark.usefixtures("short_farewell")
def test_a_broker_without_shared_subscriptions_is_refused_clearly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It might grant `$share/…` and deliver nothing; so SharedSubscriptionAvailable = 0 is believed."""
    with FakeBroker(bytes.fromhex("20 05 00 00 02 2a 00")) as fake:
        with TakingSide(fake.url, group="savers", wait=False) as keeper:
            eventually(lambda: fake.connections >= 2)
            assert keeper.session.connects == 0
        (line,) = lines(caplog, about="cannot use the broker")
        assert "shared subscriptions" in line
        assert "SAVER_GROUP" in line
    with FakeBroker(bytes.fromhex("20 05 00 00 02 2a 00")) as fake, TakingSide(fake.url, wait=False) as keeper:
        client = fake.client()  # without a group it is a broker like others
        subscribe = client.recv(65536)
        assert not keeper.session.is_up
        client.sendall(bytes([0x90, 4, *subscribe[2:4], 0, 0x01]))
        eventually(lambda: keeper.session.is_up)


@pytest.mark.usefixtures("short_farewell")
def test_a_refused_subscription_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A taker that may not subscribe would wait for ever without a word."""
    with FakeBroker(WELCOME) as fake, TakingSide(fake.url, wait=False) as keeper:
        client = fake.client()
        subscribe = client.recv(65536)
        client.sendall(bytes([0x90, 4, *subscribe[2:4], 0, 0x87]))
        (line,) = eventually(lambda: lines(caplog, about="refuses the subscription"))
        assert "access rules" in line
        assert keeper.session.is_alive


def acl_broker(start_broker: StartBroker, tmp_path: Path, *rules: str) -> Mosquitto:
    acl = tmp_path / "acl"
    acl.write_text("\n".join(["topic readwrite facedetection_status/#", *rules, ""]))
    return start_broker(config_lines=[f"acl_file {acl}"])


def test_a_publish_that_the_access_rules_refuse_is_kept_and_said_once(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PUBACK 0x87. When the rules are mended it goes on by itself."""
    rules = [f"topic read {TOPIC}/#", f"topic readwrite {RECEIPTS_TOPIC}/#"]
    broker = acl_broker(start_broker, tmp_path, *rules)
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        for payload in numbered(100):
            edge.put(payload)
        (line,) = eventually(lambda: lines(caplog, about="refuses messages"))
        assert "0x87" in line
        eventually(lambda: edge.sender.sent > 5)
        assert edge.outbox.confirmed == 0
        acl_rules = ["topic readwrite facedetection_status/#", f"topic readwrite {TOPIC}/#", rules[1], ""]
        (tmp_path / "acl").write_text("\n".join(acl_rules))
        broker.reload()
        eventually(lambda: edge.outbox.confirmed == 100)
        assert sorted(keeper.payloads) == numbered(100)
    assert len(lines(caplog, about="refuses messages")) == 1


def test_a_message_that_the_broker_refuses_does_not_hold_up_the_others(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    """Somebody at the edge published where the cloud's rules allow nothing; faces go on."""
    broker = acl_broker(
        start_broker,
        tmp_path,
        f"topic readwrite {TOPIC}",
        f"topic read {TOPIC}/#",
        f"topic readwrite {RECEIPTS_TOPIC}/#",
    )
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        for i, payload in enumerate(numbered(300)):
            if i % 100 == 0:
                edge.put(b"poison", topic=f"{TOPIC}/forbidden")
            edge.put(payload)
        eventually(lambda: edge.outbox.confirmed == 300)
        assert set(keeper.payloads) == set(numbered(300))
        eventually(lambda: len(edge.outbox) == 3)  # confirmed rows go a moment later


def test_a_message_larger_than_the_broker_takes_is_a_dead_letter(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would make the broker hang up each time; so it stays in the outbox, out of the way, with a line."""
    broker = start_broker(config_lines=["max_packet_size 100000"])
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        edge.put(bytes(200_000))
        edge.put(b"small")
        eventually(lambda: edge.outbox.confirmed == 1)
        eventually(lambda: edge.outbox.totals.dead_letters == 1)
        assert keeper.payloads == [b"small"]
        assert edge.session.connects == 1
    (line,) = lines(caplog, about="can never be delivered")
    assert "100000" in line


def test_receipts_that_the_broker_does_not_take_do_no_harm(start_broker: StartBroker, tmp_path: Path) -> None:
    """A batch of receipts goes out in pieces that fit, or not at all; the taker lives on."""
    broker = start_broker(config_lines=["max_packet_size 700"])
    with TakingSide(broker.url, hold=True) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        for payload in numbered(200):
            edge.put(payload)
        eventually(lambda: len(keeper.held) == 200)
        keeper.release()
        time.sleep(0.1)
        assert keeper.session.is_alive
        assert keeper.session.is_up


def test_stopping_ends_soon_whatever_the_link_does(broker: Mosquitto, tmp_path: Path) -> None:
    """Also when it swallows the farewell."""
    options: dict[str, Any] = {"keepalive": 30}
    with Proxy(broker.port) as link:
        edge = SendingSide(link.url, tmp_path / "outbox.db", **options)
        with edge:
            eventually(lambda: edge.session.is_up)
            link.swallow = True
            before = time.monotonic()
        assert time.monotonic() - before < 5
