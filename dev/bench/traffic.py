"""Faces for the programs to carry, and queues filled with them before the clock starts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from paho.mqtt.subscribeoptions import SubscribeOptions

from dev.bench.measure import BenchmarkError
from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess
from dev.stack.programs import make_program
from face_messages import BrokerUrl, FaceEvent, Message, Session, new_id
from face_messages.message import TOPIC, receipts_topic
from face_messages.mqtt.client import Subscription
from face_messages.mqtt.endpoint import Endpoint

PAYLOAD_BYTES = 20_000
EDGE_ID = "benchmark"

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_NUMBER = slice(len(_PNG_START), len(_PNG_START) + 8)
_FEEDER = "feeder"
_UNSENT_BYTES = 1024 * 1024


def payload(number: int) -> bytes:
    """Of `PAYLOAD_BYTES`, random but for the number in it; begins and ends as a PNG file, though it is none."""
    noise = random.Random(number).randbytes(PAYLOAD_BYTES - _NUMBER.stop - len(_PNG_END))
    return _PNG_START + number.to_bytes(8) + noise + _PNG_END


def number_of(payload: bytes) -> int:
    return int.from_bytes(payload[_NUMBER])


def event() -> FaceEvent:
    """One as the detector makes it, captured now."""
    return FaceEvent(
        id=new_id(),
        edge_id=EDGE_ID,
        camera_id="camera",
        time=datetime.now(UTC),
        frame=1,
        framesize=(640, 480),
        facebox=(200, 150, 96, 96),
        score=12.5,
    )


def faces(count: int, *, receipts: bool) -> Iterator[Message]:
    """Messages as a detector sends them: face events, that want receipts or not."""
    for number in range(count):
        face = event()
        message = face.to_message(TOPIC, payload(number))
        if receipts:
            message = replace(message, response_topic=receipts_topic(_FEEDER), correlation_data=face.id.encode())
        yield message


def broker(name: str, folder: Path, *lines: str) -> Mosquitto:
    """A broker that keeps all it is given in memory: the images' own bound their queues below what is needed here."""
    unbounded = ("max_queued_messages 0", "max_queued_bytes 0", "max_inflight_bytes 0")
    return Mosquitto(folder / name, name=name, config_lines=[*unbounded, *lines])


def program(name: str, folder: Path, **settings: str) -> ManagedProcess:
    """One of the three programs, with these environment variables."""
    return make_program(name, settings, log=folder / f"{name}.log")


def connected_to(broker: Mosquitto) -> str:
    """What a program's log tells when it is connected to this broker, and subscribed."""
    return f"connected to the broker {broker.url}"


def fill_queue(
    consumer: ManagedProcess, broker: Mosquitto, count: int, *, settled: str, receipts: bool = True
) -> float:
    """Puts `count` faces into the broker's queue for a program that is not running. Returns the messages/s of doing so.

    The program itself opens the session, by a short run until its log tells `settled`: it is then measured as after
    a restart.
    """
    consumer.start()
    consumer.wait_ready(lambda: settled in consumer.log_text())
    consumer.terminate()
    return feed(broker, count, receipts=receipts)


def feed(broker: Mosquitto, count: int, *, receipts: bool = True) -> float:
    """Publishes `count` faces, acknowledged, as fast as the broker takes them. Returns the messages/s.

    Raises:
        BenchmarkError: the broker did not take them.

    """
    feeder = _Feeder(list(faces(count, receipts=receipts)))
    session = Session(
        BrokerUrl.parse(broker.url), client_id=_FEEDER, endpoint=feeder, session_expiry=0, keep_session=False
    )
    begin = time.monotonic()
    session.start()
    if not feeder.done.wait(30 + count / 100):
        raise BenchmarkError(f"{broker.name} did not take {count} messages, see {broker.log}")
    seconds = time.monotonic() - begin
    session.stop()
    return count / seconds


class _Feeder(Endpoint):
    """Publishes all it has, as fast as the connection takes it."""

    subscriptions: Sequence[Subscription] = ((receipts_topic(_FEEDER), SubscribeOptions(qos=1)),)

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self._acknowledged = 0
        self._next = 0
        self.done = threading.Event()

    def acknowledged(self, packet_id: int, reason: int) -> None:  # noqa: ARG002 - an endpoint's signature
        # Anything else than success (0) leaves `done` unset.
        self._acknowledged += reason == 0
        if self._acknowledged == len(self._messages):
            self.done.set()

    def work(self, now: float) -> float | None:  # noqa: ARG002 - an endpoint's signature
        link = self.link
        while link and self._next < len(self._messages) and link.may_publish and link.unsent < _UNSENT_BYTES:
            link.publish(self._messages[self._next])
            self._next += 1
        return None
