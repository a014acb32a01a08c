"""A careful chain of QoS 1, to compare with: paho-mqtt, persistent sessions, brokers that save their queues.

`python -m dev.chaos.plain_chain produce|forward|save`. Each step acknowledges a message only when the next broker, or
the store, has acknowledged it. It reconnects, queues while it is offline, and retries a PUT until it works.
"""

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ibm_boto3
import paho.mqtt.client as mqtt
from ibm_botocore.config import Config
from ibm_botocore.exceptions import BotoCoreError, ClientError
from paho.mqtt.enums import CallbackAPIVersion

from dev.stack.producer import Camera
from face_messages.message import TOPIC

_WORKERS = 16

Done = Callable[[], object]


def _client(name: str, url: str) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, manual_ack=True)
    client.max_inflight_messages_set(1000)
    client.reconnect_delay_set(1, 2)
    parts = urlsplit(url)
    client.connect_async(parts.hostname or "", parts.port or 1883, keepalive=10)
    return client


class Publisher:
    """Publishes, and calls `done` when the broker has acknowledged."""

    def __init__(self, name: str, url: str) -> None:
        self._client = _client(name, url)
        self._client.on_publish = lambda _client, _data, mid, *_: self._meet(mid, None)
        self._client.loop_start()
        self._met: dict[int, Done | None] = {}

    def publish(self, picture: bytes, done: Done) -> None:
        self._meet(self._client.publish(TOPIC, picture, qos=1).mid, done)

    def _meet(self, mid: int, done: Done | None) -> None:
        # paho may report the PUBACK before `publish` returns. The first leaves a note for the second, in one step.
        if (first := self._met.setdefault(mid, done)) is not done:
            del self._met[mid]
            both = first or done
            assert both is not None
            both()

    def drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._met and time.monotonic() < deadline:
            time.sleep(0.05)
        self._client.disconnect()


def take(name: str, url: str, handle: Callable[[bytes, Done], object]) -> None:
    """Hand over each picture with its acknowledgement, which does nothing on a later connection."""
    client = _client(name, url)
    connection = 0

    def connected(*_: Any) -> None:
        nonlocal connection
        connection += 1
        client.subscribe(TOPIC, qos=1)

    def acknowledge(mid: int, its_connection: int) -> None:
        if its_connection == connection:
            client.ack(mid, 1)

    def received(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        handle(bytes(message.payload), partial(acknowledge, message.mid, connection))

    client.on_connect = connected
    client.on_message = received
    client.loop_forever(retry_first_connection=True)


def produce() -> None:
    camera = Camera()
    broker = Publisher("plain-producer", os.environ["MQTT_URL"])
    for number, picture in camera.pictures():
        # This chain promises the pictures that the broker has acknowledged.
        broker.publish(picture, partial(camera.note, number))
    broker.drain(10)


def forward() -> None:
    cloud = Publisher("plain-forwarder", os.environ["CLOUD_MQTT_URL"])
    take("plain-forwarder", os.environ["EDGE_MQTT_URL"], cloud.publish)


def save() -> None:
    s3 = ibm_boto3.client(
        "s3",
        endpoint_url=os.environ["COS_ENDPOINT"],
        aws_access_key_id=os.environ["COS_HMAC_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["COS_HMAC_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            read_timeout=10,
            max_pool_connections=_WORKERS,
            retries={"total_max_attempts": 1},
        ),
    )
    pool = ThreadPoolExecutor(_WORKERS)

    def store(picture: bytes, done: Done) -> None:
        while True:
            with contextlib.suppress(BotoCoreError, ClientError, OSError):
                s3.put_object(Bucket=os.environ["COS_BUCKET"], Key=hashlib.sha256(picture).hexdigest(), Body=picture)
                break
            time.sleep(0.5)
        done()

    take("plain-saver", os.environ["MQTT_URL"], lambda picture, done: pool.submit(store, picture, done))


if __name__ == "__main__":
    {"produce": produce, "forward": forward, "save": save}[sys.argv[1]]()
