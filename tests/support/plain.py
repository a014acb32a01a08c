"""An independent MQTT client (paho): plain publishers, subscribers, and whatever else the world may connect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions


@contextmanager
def plain_client(
    port: int,
    *,
    v5: bool = True,
    client_id: str = "",
    user: tuple[str, str] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[paho.Client]:
    """A connected client with its loop running."""
    protocol = MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol)
    if user is not None:
        client.username_pw_set(*user)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(host, port)
    client.loop_start()
    try:
        assert connected.wait(10)
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(
    client: paho.Client, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, **named: Any
) -> None:
    """Publishes and, at QoS 1, waits for the broker. `named` are MQTT 5 properties, as paho spells them."""
    properties = None
    if named:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's is half typed
        for name, value in named.items():
            setattr(properties, name, value)
    client.publish(topic, payload, qos=qos, retain=retain, properties=properties).wait_for_publish(10)


class Listener:
    """What a subscriber receives."""

    def __init__(self, client: paho.Client, topic: str) -> None:
        self.messages: list[paho.MQTTMessage] = []
        subscribed = threading.Event()
        client.on_message = lambda _client, _data, message: self.messages.append(message)
        client.on_subscribe = lambda *_: subscribed.set()
        if client._protocol == MQTTProtocolVersion.MQTTv5:
            client.subscribe(topic, options=SubscribeOptions(qos=1))
        else:
            client.subscribe(topic, qos=1)
        assert subscribed.wait(10)

    @property
    def payloads(self) -> list[bytes]:
        return [bytes(message.payload) for message in list(self.messages)]

    def last_on(self, topic: str) -> bytes | None:
        """Payload of the newest message on a topic."""
        return next((bytes(m.payload) for m in reversed(list(self.messages)) if m.topic == topic), None)


@contextmanager
def listening(port: int, topic: str, **options: Any) -> Iterator[Listener]:
    with plain_client(port, **options) as client:
        yield Listener(client, topic)
