"""The chain that everyone builds, for comparison: paho-mqtt, QoS 1, persistent sessions, and trust in the brokers.

`python -m chaos.plain_chain produce|forward|save`. It is written with care: it reconnects, queues while it is
offline, and the saver tries a PUT again until it works.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ibm_boto3
import paho.mqtt.client as mqtt
from ibm_botocore.config import Config
from paho.mqtt.enums import CallbackAPIVersion

from chaos.pictures import numbered_picture
from chaos.producer import NUMBERS_A_START

TOPIC = "facedetection_topic"


def _client(name: str, url: str) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.max_inflight_messages_set(1000)
    client.reconnect_delay_set(1, 2)
    parts = urlsplit(url)
    client.connect_async(parts.hostname or "", parts.port or 1883, keepalive=10)
    return client


def produce(arguments: argparse.Namespace) -> None:
    starts = arguments.journal.read_text().count("start") if arguments.journal.exists() else 0
    notes = os.open(arguments.journal, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(notes, b"start\n")
    client = _client("plain-producer", arguments.broker)
    waiting: dict[int, int] = {}

    def on_publish(_client: Any, _data: Any, mid: int, *_: Any) -> None:
        # What the broker has acknowledged is what this chain promises.
        if (number := waiting.pop(mid, None)) is not None:
            os.write(notes, f"{number}\n".encode())

    client.on_publish = on_publish
    client.loop_start()
    number = starts * NUMBERS_A_START
    due = time.monotonic()
    while not arguments.stop_file.exists():
        info = client.publish(TOPIC, numbered_picture(number, arguments.size), qos=1)
        waiting[info.mid] = number
        number += 1
        due = max(due + 1 / arguments.rate, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
    deadline = time.monotonic() + 10
    while waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    client.disconnect()


def forward() -> None:
    cloud = _client("plain-forwarder", os.environ["CLOUD_MQTT_URL"])
    cloud.loop_start()
    edge = _client("plain-forwarder", os.environ["EDGE_MQTT_URL"])
    edge.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)

    def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        cloud.publish(TOPIC, message.payload, qos=1)

    edge.on_message = on_message
    edge.loop_forever(retry_first_connection=True)


def save() -> None:
    s3 = ibm_boto3.client(
        "s3",
        endpoint_url=os.environ["COS_ENDPOINT"],
        aws_access_key_id=os.environ["COS_HMAC_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["COS_HMAC_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, read_timeout=10, max_pool_connections=16
        ),
    )
    pictures: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def put() -> None:
        while True:
            picture = pictures.get()
            while True:
                try:
                    s3.put_object(
                        Bucket=os.environ["COS_BUCKET"], Key=hashlib.sha256(picture).hexdigest(), Body=picture
                    )
                    break
                except Exception:  # noqa: BLE001 - whatever it was, it is tried again
                    time.sleep(0.5)

    for _ in range(16):
        threading.Thread(target=put, daemon=True).start()
    client = _client("plain-saver", os.environ["MQTT_URL"])
    client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
    client.on_message = lambda _client, _data, message: pictures.put(bytes(message.payload))
    client.loop_forever(retry_first_connection=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["produce", "forward", "save"])
    parser.add_argument("--broker")
    parser.add_argument("--outbox")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--stop-file", type=Path)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    if arguments.role == "produce":
        produce(arguments)
    elif arguments.role == "forward":
        forward()
    else:
        save()


if __name__ == "__main__":
    main()
