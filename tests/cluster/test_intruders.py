"""What an edge, or who has stolen its certificate, cannot do at a cluster: as at Mosquitto (docs/security.md)."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from dev.stack import cluster as nodes
from dev.stack.bundle import Bundle
from dev.stack.cluster import Cluster
from face_messages.message import TOPIC
from tests.integration import test_intruders as at_mosquitto
from tests.support.outside import NOT_AUTHORIZED, Outside
from tests.support.programs import BUCKET
from tests.support.raw import RawClient, correlation_data, packet, publish, response_topic, string, user_property
from tests.support.site import PNG, Site
from tests.support.waiting import eventually

FACES = TOPIC.encode()
NO_SUCH_TOPIC = 0x10  # nobody listens


def own(topic: str) -> str:
    """The other tests' edge is called otherwise."""
    return topic.replace("tx2-01", "mallory")


def cases(test: object, name: str) -> list[str]:
    """The topics of a test against Mosquitto."""
    (mark,) = [mark for mark in test.pytestmark if mark.args[0] == name]  # type: ignore[attr-defined]
    return [own(topic) for topic in mark.args[1]]


@pytest.fixture(scope="module")
def mallory(cluster: Cluster) -> Bundle:
    return cluster.enrol("mallory")


def connect(bundle: Bundle, client_id: bytes = b"mallory", **options: object) -> Outside:
    return Outside(8883, bundle.context(), client_id=client_id, host=nodes.ADDRESSES[0], **options)  # type: ignore[arg-type]


@pytest.fixture
def client(mallory: Bundle) -> Iterator[Outside]:
    with connect(mallory) as outside:
        assert outside.reason == 0
        yield outside


@pytest.mark.parametrize("topic", cases(at_mosquitto.test_an_edge_publishes_nowhere_else, "topic"))
def test_an_edge_publishes_nowhere_else(client: Outside, topic: str) -> None:
    for retain in (False, True):
        assert client.publish(topic.encode(), b"from an edge", retain=retain) == NOT_AUTHORIZED


@pytest.mark.parametrize("topic", cases(at_mosquitto.test_an_edge_publishes_what_it_should, "topic"))
def test_an_edge_publishes_what_it_should(client: Outside, topic: str) -> None:
    assert client.publish(topic.encode(), b"from an edge") in (0, NO_SUCH_TOPIC)


@pytest.mark.parametrize("topic", cases(at_mosquitto.test_an_edge_subscribes_to_nothing_else, "topic"))
def test_an_edge_subscribes_to_nothing_else(client: Outside, topic: str) -> None:
    assert client.subscribe(topic.encode()) >= 0x80


@pytest.mark.parametrize("topic", cases(at_mosquitto.test_an_edge_subscribes_to_what_is_its_own, "topic"))
def test_an_edge_subscribes_to_what_is_its_own(client: Outside, topic: str) -> None:
    assert client.subscribe(topic.encode()) == 1


@pytest.mark.parametrize("client_id", [b"edge1", b"cloud_saver", b"", b"mallory2"])
def test_an_edge_connects_under_no_other_name(mallory: Bundle, client_id: bytes) -> None:
    """So it takes no other's place, and whose a face is follows from the client id."""
    with connect(mallory, client_id) as outside:
        assert outside.reason >= 0x80


def test_nobody_comes_in_without_a_certificate_of_this_ca(mallory: Bundle) -> None:
    context = ssl.create_default_context(cafile=mallory.ca)
    with pytest.raises(OSError), Outside(8883, context, host=nodes.ADDRESSES[0]):  # noqa: PT011 - during or after it
        pass


def test_a_will_goes_nowhere_but_to_the_own_status(mallory: Bundle) -> None:
    """The node lets it in with another will, and publishes none of it."""
    topics = (b"facedetection_receipts/edge1", b"facedetection_status/edge1", b"facedetection_control/edge1/door")
    with ExitStack() as stack:
        inside = [
            stack.enter_context(closing(RawClient(1883, host=nodes.ADDRESSES[1], client_id=topic))) for topic in topics
        ]
        for listener, topic in zip(inside, topics, strict=True):
            listener.send(packet(0x82, b"\x00\x07\x00" + string(topic) + b"\x00"))
            assert listener.answer()[0] == 0x90
        own_status = stack.enter_context(closing(RawClient(1883, host=nodes.ADDRESSES[1], client_id=b"own")))
        own_status.send(packet(0x82, b"\x00\x07\x00" + string(b"facedetection_status/mallory") + b"\x00"))
        assert own_status.answer()[0] == 0x90
        for topic in (*topics, b"facedetection_status/mallory"):
            connect(mallory, will=(topic, b"will", False)).drop()
        assert b"will" in own_status.answer()
        for listener in inside:
            listener.send(packet(0xC0, b""))
            assert listener.answer()[0] == 0xD0


def test_a_will_is_no_way_to_forge_a_face(mallory: Bundle, site: Site) -> None:
    saving = site.saver()
    forged = at_mosquitto.as_event("edge1") + user_property(b"identity", b"edge1")
    connect(mallory, will=(FACES, PNG + b"will", False), will_properties=forged).drop()
    saving.expect("objects_stored_total", 1)
    assert [key.startswith("faces/unattributed/") for key in site.s3.objects(BUCKET)] == [True]


def test_a_face_in_another_edge_s_name_is_filed_as_unattributed(mallory: Bundle, site: Site) -> None:
    """Also where the sender says itself who it is, in all the ways that a broker may say it."""
    saving = site.saver()
    forged = at_mosquitto.as_event("edge1")
    with connect(mallory) as outside:
        for number, more in enumerate(
            (
                b"",
                user_property(b"identity", b"edge1"),
                user_property(b"x-opt-mqtt-client-id", b"edge1"),
                user_property(b"x-opt-mqtt-client-id", b"edge1") * 2,
            )
        ):
            assert outside.publish(FACES, PNG + b"%d" % number, properties=forged + more) == 0
        assert outside.publish(FACES, PNG + b"own", properties=at_mosquitto.as_event("mallory")) == 0
    saving.expect("objects_stored_total", 5)
    saving.expect("messages_impostor_total", 4)
    keys = list(site.s3.objects(BUCKET))
    assert len([key for key in keys if key.startswith("faces/unattributed/")]) == 4
    assert len([key for key in keys if key.startswith("faces/mallory/door/")]) == 1


def test_a_receipt_cannot_be_sent_to_another_edge(mallory: Bundle, site: Site) -> None:
    """It would make that edge discard a face that is stored nowhere."""
    saving = site.saver()
    with Outside(8883, site.bundle.context(), client_id=site.edge_id.encode(), host=nodes.ADDRESSES[0]) as victim:
        assert victim.subscribe(f"facedetection_receipts/{site.edge_id}".encode()) == 1
        with connect(mallory) as outside:
            properties = response_topic(f"facedetection_receipts/{site.edge_id}".encode()) + correlation_data(b"id")
            assert outside.publish(FACES, PNG + b"evil", properties=properties) == 0
        saving.expect("objects_stored_total", 1)
        properties = response_topic(f"facedetection_receipts/{site.edge_id}".encode()) + correlation_data(b"own")
        victim.socket.sendall(publish(FACES, PNG + b"good", properties=properties))
        answers = [victim.read() for _ in range(2)]
    received = [body for kind, body in answers if kind & 0xF0 == 0x30]
    assert [body.endswith(b"own") for body in received] == [True]


def test_a_message_cannot_be_stored_outside_its_place(mallory: Bundle, site: Site) -> None:
    names = ["../../edge1", "..", "a/../../b", "%2e%2e%2f", "x" * 250, "-", "~", "\u202e"]
    saving = site.saver()
    with connect(mallory) as outside:
        for number, name in enumerate(names):
            for properties in (at_mosquitto.as_event("mallory", name), at_mosquitto.as_event("mallory", "door", name)):
                assert outside.publish(FACES, PNG + b"%d" % number, properties=properties) == 0
    saving.expect("objects_stored_total", 2 * len(names))
    place = re.compile(r"faces/mallory/(?!\.)[^/]{1,128}/2026/05/01/20260501T080000\.000000Z-[^/]{1,128}\.png")
    assert [key for key in site.s3.objects(BUCKET) if not place.fullmatch(key)] == []


def test_a_revoked_edge_is_out_at_once_and_its_certificate_stays_out(cluster: Cluster) -> None:
    """Also after its name was enrolled anew, with another certificate."""
    stolen = cluster.enrol("stolen")
    with connect(stolen, b"stolen") as outside:
        assert outside.reason == 0
        cluster.script("revoke", "stolen")
        with contextlib.suppress(OSError):
            assert outside.read()[0] == 0xE0
    refused(stolen)
    anew = cluster.enrol("stolen", "enrol")
    with connect(anew, b"stolen") as outside:
        assert outside.reason == 0
    refused(stolen)


def refused(bundle: Bundle) -> None:
    def is_out() -> bool:
        try:
            with connect(bundle, b"stolen") as outside:
                return outside.reason >= 0x80
        except OSError:
            return True

    eventually(is_out, what="the revoked certificate is let in")


def test_the_outside_reaches_no_port_but_that_with_certificates(cluster: Cluster) -> None:
    """In the network hw03, AMQP and MQTT need no password, and nodes a cookie."""
    files = ("--file", "docker-compose.cloud.yml", "--file", "compose/cluster.yml")
    told = cluster.run("docker", "compose", "--env-file", "/dev/null", *files, "config", "--format", "json")
    services = json.loads(told)["services"]
    assert [[port["target"] for port in services[name]["ports"]] for name in nodes.NAMES] == [[8883]] * 3
    assert not any("ports" in services[name] for name in ("cloud_identities", "cloud_saver"))


def test_half_a_handshake_is_ended() -> None:
    """Who connects and says nothing keeps no place."""
    with socket.create_connection((nodes.ADDRESSES[0], 8883), 10) as silent:
        silent.settimeout(30)
        assert silent.recv(1) == b""
