"""Who gets in at port 8883: whoever has a certificate of the broker's own CA that is valid now, as whom it names."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from dev.stack.bundle import Bundle
from face_messages.mqtt.url import TlsFiles
from tests.support.certificates import Authority, Pair
from tests.support.cloud_broker import CloudBroker
from tests.support.outside import Outside
from tests.support.parts import SendingSide, TakingSide
from tests.support.raw import packet, string
from tests.support.waiting import eventually

CONNECT = packet(0x10, string(b"MQTT") + b"\x05\x02\x00\x3c\x00" + string(b"x"))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudBroker]:
    with CloudBroker(tmp_path / "cloud") as broker:
        yield broker


@pytest.fixture
def edge(cloud: CloudBroker) -> Bundle:
    return cloud.enrol("tx2-01")


def showing(cloud: CloudBroker, pair: Pair | None) -> ssl.SSLContext:
    """Trusts the broker, and shows this certificate, or none."""
    context = ssl.create_default_context(cafile=cloud.pki / "ca.crt")
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def refused(cloud: CloudBroker, context: ssl.SSLContext) -> str:
    """The TLS alert with which the broker ends the attempt, in capitals."""
    with pytest.raises(OSError):  # noqa: PT011 - TLS 1.3 has the alert behind the handshake, where it may get lost
        Outside(cloud.outside_port, context)
    if context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError) as error:
        Outside(cloud.outside_port, context)
    return str(error.value).upper().replace(" ", "_")


def authority(cloud: CloudBroker, tmp_path: Path) -> Authority:
    """The broker's own CA, as whoever has stolen its key could use it."""
    return Authority.of(cloud.pki / "ca.crt", cloud.pki / "ca.key", tmp_path)


def test_an_enrolled_edge_gets_in(cloud: CloudBroker, edge: Bundle) -> None:
    with Outside(cloud.outside_port, edge.context()) as client:
        assert client.reason == 0
        assert client.publish(b"facedetection_topic", b"face") in (0, 0x10)


def test_nobody_gets_in_without_a_certificate(cloud: CloudBroker) -> None:
    assert "HANDSHAKE_FAILURE" in refused(cloud, showing(cloud, None))


def test_a_certificate_of_another_ca_does_not_get_in(cloud: CloudBroker, tmp_path: Path) -> None:
    """Even one that has the same name as the broker's, and names an edge that is enrolled."""
    cloud.enrol("tx2-01")
    assert "UNKNOWN_CA" in refused(cloud, showing(cloud, Authority(tmp_path).issue("tx2-01")))


def test_an_expired_certificate_does_not_get_in(cloud: CloudBroker, tmp_path: Path) -> None:
    pair = authority(cloud, tmp_path).issue("tx2-01", days=-1, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert "CERTIFICATE_EXPIRED" in refused(cloud, showing(cloud, pair))


def test_the_server_s_certificate_is_no_identity(cloud: CloudBroker) -> None:
    """It is signed by the same CA, but not for clients."""
    pair = Pair(cloud.pki / "live" / "server.crt", cloud.pki / "live" / "server.key")
    assert "UNSUPPORTED_CERTIFICATE" in refused(cloud, showing(cloud, pair))


def test_plain_mqtt_gets_no_answer_on_the_tls_port(cloud: CloudBroker) -> None:
    with socket.create_connection(("127.0.0.1", cloud.outside_port), 10) as client:
        client.sendall(CONNECT)
        try:
            answer = client.recv(100)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"\x20")


def test_tls_before_1_2_is_refused(cloud: CloudBroker, edge: Bundle) -> None:
    context = edge.context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert "PROTOCOL_VERSION" in refused(cloud, context)


def test_ciphers_without_forward_secrecy_are_refused(cloud: CloudBroker, edge: Bundle) -> None:
    context = edge.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 has no others
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:AES128-SHA")
    assert "HANDSHAKE_FAILURE" in refused(cloud, context)


def test_an_edge_does_not_talk_to_another_server(cloud: CloudBroker, edge: Bundle, tmp_path: Path) -> None:
    """Neither to one with another CA's certificate, nor to one that has stolen an edge's own."""
    other = CloudBroker(tmp_path / "other")
    with other, pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        Outside(other.outside_port, edge.context())
    thief = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    thief.load_cert_chain(edge.cert, edge.key)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = edge.context().wrap_bio(theirs, ours, server_hostname="tx2-01")
    server = thief.wrap_bio(ours, theirs, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        client.do_handshake()
    assert cloud.running


def test_a_client_id_that_is_taken_stays_whose_it_is(cloud: CloudBroker, edge: Bundle) -> None:
    """Whatever id an edge asks for, it is known by its certificate's name, and disturbs nobody else."""
    with TakingSide(cloud.url, client_id="cloud_saver") as saver:
        with Outside(cloud.outside_port, cloud.enrol("tx2-02").context()) as other:
            for taken in (b"cloud_saver", b"tx2-02"):
                with Outside(cloud.outside_port, edge.context(), client_id=taken, session_seconds=60) as client:
                    assert client.subscribe(b"facedetection_receipts/tx2-01") == 1
                    assert client.publish(b"facedetection_topic", taken) == 0
            assert other.publish(b"facedetection_topic", b"still here") == 0
        eventually(lambda: len(saver.messages) == 3, what=lambda: str(saver.messages))
        assert [message.identity for message in saver.messages] == ["tx2-01", "tx2-01", "tx2-02"]
        assert saver.session.connects == 1


def test_custody_works_through_the_outer_door(cloud: CloudBroker, edge: Bundle, tmp_path: Path) -> None:
    """Faces, and the receipts that let the edge discard them."""
    tls = TlsFiles(edge.ca, edge.cert, edge.key)
    url, name = cloud.outside_url, "tx2-01"
    with (
        TakingSide(cloud.url, client_id="cloud_saver") as saver,
        SendingSide(url, tmp_path / "o.db", client_id=name, tls=tls) as sender,
    ):
        for number in range(50):
            sender.put(b"%d" % number)
        eventually(lambda: sender.outbox.confirmed == 50, what="not all are confirmed")
    assert {message.identity for message in saver.messages} == {"tx2-01"}
