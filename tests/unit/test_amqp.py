"""Messages between MQTT and AMQP as RabbitMQ has them, and a loop whose sockets are left unread."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise

import pytest
from pika import BasicProperties, ConnectionParameters
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError

from face_messages import Message
from face_messages.amqp import loop as loop_module
from face_messages.amqp.link import AmqpLink
from face_messages.amqp.loop import Loop
from face_messages.amqp.message import binding_key, from_amqp, routing_key, to_amqp
from face_messages.amqp.session import AmqpSession
from face_messages.message import refusal_of
from face_messages.mqtt.endpoint import Endpoint
from face_messages.mqtt.url import AmqpUrl
from tests.support.waiting import eventually


def test_a_message_has_what_an_mqtt_subscriber_would_see() -> None:
    headers = {"id": "1", "größe": "😀", "x-reply-to-topic": "facedetection_receipts.tx2"}
    properties = BasicProperties(content_type="image/png", correlation_id="1", headers=headers)
    assert from_amqp("facedetection_topic.lobby", properties, b"png") == Message(
        "facedetection_topic/lobby",
        b"png",
        content_type="image/png",
        user_properties=(("id", "1"), ("größe", "😀")),
        response_topic="facedetection_receipts/tx2",
        correlation_data=b"1",
    )
    assert from_amqp("facedetection_topic", BasicProperties(), b"") == Message("facedetection_topic", b"")


def test_who_sent_it_is_what_the_broker_says_and_not_what_the_sender_says() -> None:
    headers = {"identity": "tx2-02", "x-opt-mqtt-client-id": "tx2-01"}
    message = from_amqp("facedetection_topic", BasicProperties(headers=headers), b"")
    assert message.identity == "tx2-01"
    assert [name for name, _ in message.user_properties] == ["identity"]


def test_a_long_or_binary_correlation_comes_as_a_header() -> None:
    for correlation in (b"\xff\xfe", b"x" * 300):
        properties = BasicProperties(headers={"x-correlation-id": correlation})
        assert from_amqp("facedetection_topic", properties, b"").correlation_data == correlation


def test_a_refusal_keeps_its_reason_and_its_correlation() -> None:
    message = Message(
        "facedetection_topic", b"", response_topic="facedetection_receipts/tx2", correlation_data="ü".encode()
    )
    properties = to_amqp(refusal_of(message, "too large"))
    assert properties.headers == {"refused": "too large"}
    assert properties.correlation_id == "ü"


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("facedetection_topic/#", "facedetection_topic.#"),
        ("facedetection_status/+/health", "facedetection_status.*.health"),
        ("facedetection_status/+", "facedetection_status.*"),
    ],
)
def test_filters_become_bindings(topic: str, key: str) -> None:
    assert binding_key(topic) == key


def test_who_publishes_on_a_lost_connection_is_told_as_by_pika() -> None:
    """What the session catches, whatever pika has let go of meanwhile."""
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    where = ConnectionParameters(host="127.0.0.1", port=port, connection_attempts=1)
    lost = SelectConnection(where, on_open_error_callback=lambda *_: loop.stop(), custom_ioloop=loop)
    loop.start()
    channel = Channel(lost, 1, lambda _: None)
    link = AmqpLink(loop, channel, channel)
    with pytest.raises(AMQPError):
        link.publish(Message("facedetection_receipts/tx2", b"id"))
    with pytest.raises(AMQPError):
        link.acknowledge(1)
    loop.close()


def test_a_topic_becomes_a_routing_key() -> None:
    assert routing_key("facedetection_stored/tx2/door") == "facedetection_stored.tx2.door"


def test_sockets_are_left_unread_but_for_a_sip_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind the messages, such as heartbeats, is seen all the same."""
    monkeypatch.setattr(loop_module, "_SIP_SECONDS", 0.1)
    loop = Loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        read_at: list[float] = []

        def read(_fd: int, _events: int) -> None:
            ours.recv(1)
            read_at.append(time.monotonic())

        def leave_unread() -> None:
            loop.reading = False
            theirs.sendall(b"x" * 100_000)

        loop.add_handler(ours.fileno(), read, IOLoop.READ)
        began = time.monotonic()
        loop.call_later(0, leave_unread)
        loop.call_later(0.35, loop.stop)
        loop.start()
        assert read_at
        assert read_at[0] - began >= 0.1
        # Between two sips nothing is read.
        assert max(later - earlier for earlier, later in pairwise(read_at)) > 0.05
        loop.remove_handler(ours.fileno())
    loop.close()


def test_a_node_that_hangs_up_at_once_is_tried_again() -> None:
    """As one that is just starting. Both connections were being made."""
    accepted: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    accepted.append(connection.recv(8))

        threading.Thread(target=hang_up, daemon=True).start()
        url = AmqpUrl.parse(f"amqp://127.0.0.1:{server.getsockname()[1]}")
        session = AmqpSession(url, client_id="saver", endpoint=Endpoint())
        session.start()
        eventually(lambda: len(accepted) >= 6 or not session.is_alive)
        assert session.is_alive
        assert session.trouble is not None
        session.stop()
        server.shutdown(socket.SHUT_RDWR)
