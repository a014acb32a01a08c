"""Faces for the programs to carry: queues filled with them before the clock starts, and a keeper that counts them.

`python -m dev.bench.traffic URL COUNT` is the keeper: it takes messages from a broker, sends receipts, counts, keeps
nothing. To the forwarder it is like the saver, without the storing. When it has `COUNT` different messages, it prints
the seconds from the first to the last of them.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from dev.bench.measure import BenchmarkError, wait_until
from dev.stack.mosquitto import Mosquitto
from dev.stack.pictures import face_event, number_of, numbered_picture
from dev.stack.processes import ManagedProcess
from dev.stack.programs import PythonProcess
from face_messages import BrokerUrl, Message, Session, Taken, Taker
from face_messages.message import TOPIC, receipts_topic

PAYLOAD_BYTES = 20_000

_FEEDER = "feeder"
# Messages that the feeder has sent and the broker has not acknowledged.
_WINDOW = 1000


def faces(count: int, *, receipts: bool) -> Iterator[Message]:
    """Messages as a detector sends them: face events, with or without a request for a receipt."""
    for number in range(count):
        event = face_event()
        message = event.to_message(TOPIC, numbered_picture(number, PAYLOAD_BYTES))
        if receipts:
            message = replace(message, response_topic=receipts_topic(_FEEDER), correlation_data=event.id.encode())
        yield message


def broker(name: str, folder: Path, *lines: str) -> Mosquitto:
    """A broker that keeps all messages in memory; the images' brokers bound their queues below the need here."""
    unbounded = ("max_queued_messages 0", "max_queued_bytes 0", "max_inflight_bytes 0")
    return Mosquitto(folder / name, name=name, config_lines=[*unbounded, *lines])


def connected_to(broker: Mosquitto) -> str:
    """A program logs this when it is connected to the broker, and subscribed."""
    return f"connected to the broker {broker.url}"


def fill_queue(consumer: ManagedProcess, broker: Mosquitto, count: int, *, receipts: bool = True) -> float:
    """Put `count` faces into the broker's queue for a program that is not running. Returns messages/s.

    The program itself opens the session in a short run before: it is then measured as after a restart.
    """
    consumer.start()
    consumer.wait_ready(lambda: connected_to(broker) in consumer.log_text())
    consumer.terminate()
    return feed(broker, count, receipts=receipts)


def stock_client(name: str, kind: type[paho.Client] = paho.Client, **options: Any) -> paho.Client:
    """Paho's client as it comes, with as many messages in flight as wanted."""
    client = kind(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5, **options)
    client.max_inflight_messages = 0
    return client


def stock_publish(client: paho.Client, message: Message) -> int:
    """QoS 1, with the message's properties; returns the packet id."""
    said: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's types end here
    said.ContentType = message.content_type
    said.UserProperty = list(message.user_properties)
    if message.response_topic is not None:
        said.ResponseTopic, said.CorrelationData = message.response_topic, message.correlation_data
    return client.publish(message.topic, message.payload, 1, properties=said).mid


def feed(broker: Mosquitto, count: int, *, receipts: bool = True) -> float:
    """Publish `count` faces, acknowledged, as fast as the broker takes them. Returns messages/s.

    Raises BenchmarkError when the broker does not take them.
    """
    messages = list(faces(count, receipts=receipts))
    room, refused = threading.Semaphore(_WINDOW), threading.Event()

    def published(_client: object, _data: object, _mid: int, reason: Any, _said: object) -> None:
        if reason.is_failure:
            refused.set()
        room.release()

    client = stock_client(_FEEDER)
    client.on_publish = published
    client.connect("127.0.0.1", broker.port, clean_start=True)
    client.loop_start()
    begin = time.monotonic()
    # The last turns wait until all are acknowledged.
    for message in [*messages, *[None] * _WINDOW]:
        if not room.acquire(timeout=30) or refused.is_set():
            raise BenchmarkError(f"{broker.name} did not take {count} messages, see {broker.log}")
        if message is not None:
            stock_publish(client, message)
    seconds = time.monotonic() - begin
    client.disconnect()
    client.loop_stop()
    return count / seconds


class Keeper(PythonProcess):
    """A keeper in a process of its own, at a broker."""

    def __init__(self, broker: Mosquitto, folder: Path, *, count: int) -> None:
        self._count = count
        super().__init__(
            "keeper",
            ["dev.bench.traffic", broker.url, str(count)],
            {},
            log=folder / "keeper.log",
            ready=lambda: connected_to(broker) in self.log_text(),
        )

    def messages_per_second(self, *, watched: list[ManagedProcess]) -> float:
        """Wait until all messages have come; their rate, from the first to the last."""
        what = f"{self._count} messages at the cloud broker"
        seconds = 60 + self._count / 50
        wait_until(lambda: self._seconds() > 0, watched=[self, *watched], what=what, seconds=seconds)
        return (self._count - 1) / self._seconds()

    def _seconds(self) -> float:
        # With the end of the line, which may just be being written.
        told = re.search(r"^seconds (\S+)\n", self.log_text(), re.MULTILINE)
        return float(told[1]) if told else 0.0


def keep() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    url, count = BrokerUrl.parse(sys.argv[1]), int(sys.argv[2])
    seen: dict[int | None, float] = {}
    done = threading.Event()

    def take(taken: Taken) -> None:
        seen.setdefault(number_of(taken.message.payload), time.monotonic())
        taken.safe()
        if len(seen) == count:
            done.set()

    taker = Taker(TOPIC, take)
    Session(url, client_id="keeper", endpoint=taker, receive_maximum=1000).start()
    done.wait()
    print("seconds", max(seen.values()) - min(seen.values()), flush=True)
    # Stays to answer messages that are sent again, until it is ended.
    threading.Event().wait()


if __name__ == "__main__":
    keep()
