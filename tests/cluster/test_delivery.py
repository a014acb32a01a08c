"""Faces come through a cluster of RabbitMQ: whole, once, with the same keys as by Mosquitto, whoever dies."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from dev.stack import cluster as nodes
from dev.stack.proxy import Proxy
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, Message, TlsFiles, new_id
from face_messages.message import TOPIC
from tests.support.cloud_broker import CloudBroker
from tests.support.parts import SendingSide
from tests.support.programs import BUCKET, saver
from tests.support.site import PNG, Site, put
from tests.support.stores import sdk
from tests.support.waiting import at_least, eventually


def test_a_face_comes_from_the_edge_broker_to_the_bucket_and_its_receipt_back(site: Site) -> None:
    site.saver()
    forwarder = site.forwarder()
    site.expect_all(put(site.detector(), site.faces(50)))
    forwarder.expect("messages_unconfirmed", 0)
    forwarder.expect("outbox_confirmed_total", 50)
    assert all(key.startswith(f"faces/{site.edge_id}/door/") for key in site.s3.objects(BUCKET))


def test_keys_and_metadata_are_the_same_as_by_mosquitto(site: Site, tmp_path: Path) -> None:
    """Byte for byte: faces with all attributes, pictures without any, no pictures, names that fit in no key."""
    when = datetime(2026, 5, 1, 8, tzinfo=UTC)

    def face(edge_id: str, camera_id: str = "door") -> FaceEvent:
        return FaceEvent(new_id(), edge_id, camera_id, when)

    whole = FaceEvent(
        new_id(), site.edge_id, "door", when, frame=7, framesize=(640, 480), facebox=(1, 2, 30, 40), score=0.5
    )
    messages = [
        whole.to_message(TOPIC, PNG + b"whole"),
        face(site.edge_id).to_message(f"{TOPIC}/lobby", PNG + b"below"),
        face(site.edge_id, "c" * 200).to_message(TOPIC, PNG + b"long"),
        face(site.edge_id, "Tür/../ü%2f").to_message(TOPIC, PNG + b"unsafe"),
        face("somebody-else").to_message(TOPIC, PNG + b"impostor"),
        Message(TOPIC, PNG + b"plain"),
        Message(TOPIC, b"no picture", content_type="text/plain"),
        Message(TOPIC, PNG + b"half", user_properties=(("id", "x"), ("note", "größer 😀"))),
        Message(TOPIC, b""),
    ]
    by_amqp = site.saver()
    send(site.cluster.mqtt_urls, site.bundle.files, site.edge_id, messages, tmp_path / "amqp.db")
    by_amqp.expect("objects_stored_total", len(messages))
    with S3Server(tmp_path / "other") as other, CloudBroker(tmp_path / "mosquitto") as mosquitto:
        (tmp_path / "mqtt").mkdir()
        with saver(tmp_path / "mqtt", mosquitto.url, other) as by_mqtt:
            by_mqtt.expect("cloud_broker_up", 1)
            files = mosquitto.enrol(site.edge_id).files
            send(mosquitto.outside_url, files, site.edge_id, messages, tmp_path / "mqtt.db")
            by_mqtt.expect("objects_stored_total", len(messages))
            assert described(other) == described(site.s3)
            assert by_mqtt.figure("messages_impostor_total") == by_amqp.figure("messages_impostor_total") == 1


def send(url: str, files: TlsFiles, edge_id: str, messages: list[Message], outbox: Path) -> None:
    with SendingSide(url, outbox, client_id=edge_id, tls=files) as edge:
        for number, message in enumerate(messages):
            edge.outbox.put(b"%d-%s" % (number, edge_id.encode()), message, lambda: None)
        eventually(lambda: len(edge.outbox) == 0, what="not all are confirmed")


def described(s3: S3Server) -> dict[str, object]:
    """Content, content type and metadata of each object."""
    client = sdk(s3.endpoint, s3.access_key_id, s3.secret_access_key)
    answers = {key: client.get_object(Bucket=BUCKET, Key=key) for key in s3.objects(BUCKET)}
    return {key: (answer["Body"].read(), answer["ContentType"], answer["Metadata"]) for key, answer in answers.items()}


def test_what_a_saver_never_takes_is_a_dead_letter_at_the_edge(site: Site) -> None:
    """It is too large: it comes back, with the reason, and others go on."""
    site.saver()
    sending = site.sending()
    sending.outbox.put(b"large", Message(TOPIC, PNG + bytes(8 * 1024 * 1024)), lambda: None)
    eventually(lambda: sending.outbox.totals.dead_letters == 1, what="no dead letter")
    site.expect_all(put(sending, site.faces(3)))


def test_a_killed_saver_s_share_is_with_the_others_at_once(site: Site) -> None:
    """It dies with a window in hand; the edge, which would send again only after a minute, need not."""
    killed, staying = site.saver("killed"), site.saver("staying")
    staying.pause()
    site.s3.pause()
    sending = site.sending(resend_after=(60.0, 60.0))
    faces = put(sending, site.faces(40))
    at_least(lambda: killed.figure("messages_held"), 1)
    staying.resume()
    began = time.monotonic()
    killed.kill()
    staying.expect("messages_held", 40)
    took = time.monotonic() - began
    print(f"the share of a killed saver was with the other one after {took:.2f} s")
    # Mostly a tenth of a second; python -m dev.bench cluster measures it.
    assert took < 3
    site.s3.resume()
    site.expect_all(faces)


def test_live_faces_go_on_when_a_node_is_killed(site: Site) -> None:
    """Forwarder and saver are connected to it; both go on to the next one, and say so once."""
    saving = site.saver()
    node = next(n for n, address in enumerate(nodes.ADDRESSES) if f"//{address}:" in saving.log_text())
    programs = (saving, site.forwarder(first=node))
    detector = site.detector()
    faces = put(detector, site.faces(10))
    site.expect_all(faces)
    site.cluster.kill(node)
    try:
        began = time.monotonic()
        faces += put(detector, site.faces(10))
        site.expect_all(faces, within=10)
        print(f"faces made after a node's death were stored after {time.monotonic() - began:.2f} s")
    finally:
        site.cluster.start(node)
        site.cluster.wait(node)
    for program in programs:
        (line,) = [text for text in program.log_text().splitlines() if "lost the broker" in text]
        assert nodes.ADDRESSES[node] in line
        assert "trying the next one" in line


def test_a_node_that_is_cut_off_loses_nothing(site: Site) -> None:
    """It confirms nothing without a majority. Edge and saver notice, and go on to a node that sees another one."""
    saving = site.saver()
    node = next(n for n, address in enumerate(nodes.ADDRESSES) if f"//{address}:" in saving.log_text())
    sending = site.sending(first=node)
    faces = put(sending, site.faces(10))
    site.expect_all(faces)
    with site.cluster.cut_off(node):
        faces += put(sending, site.faces(30))
        site.expect_all(faces, within=120)
    faces += put(sending, site.faces(10))
    site.expect_all(faces, within=90)


def test_a_full_queue_is_told_to_the_edge_which_keeps_its_faces(site: Site) -> None:
    site.saver("first").terminate()
    site.cluster.control(
        0, "set_policy", "small", "^facedetection_faces$", '{"max-length": 20}', "--apply-to", "queues"
    )
    try:
        sending = site.sending(resend_after=(1.0, 2.0))
        faces = put(sending, site.faces(60))
        eventually(lambda: sending.sender.resent > 0, what="nothing was refused")
        assert len(sending.outbox) == 60
        site.saver("second")
        site.expect_all(faces)
    finally:
        site.cluster.control(0, "clear_policy", "small")


def test_a_saver_whose_queue_is_deleted_makes_it_anew(site: Site) -> None:
    saving = site.saver()
    site.cluster.control(0, "delete_queue", "facedetection_faces")
    at_least(lambda: saving.figure("cloud_broker_connects_total"), 2)
    saving.expect("cloud_broker_up", 1)
    site.expect_all(put(site.sending(), site.faces(5)))


def test_a_saver_waits_for_a_cluster_that_is_not_there_yet(site: Site) -> None:
    """It says so once, and connects as soon as a node listens."""
    with Proxy(5672, host=nodes.ADDRESSES[1]) as way:
        way.refuse = True
        saving = site.saver(AMQP_URL=f"amqp://127.0.0.1:{way.port}", wait=False)
        saving.expect_line("cannot use the broker amqp://127.0.0.1")
        way.refuse = False
        saving.expect("cloud_broker_up", 1)
        site.expect_all(put(site.sending(), site.faces(5)))
    (line,) = [text for text in saving.log_text().splitlines() if "cannot use" in text]
    assert "retrying until it succeeds" in line
