"""Messages as RabbitMQ hands them from MQTT to AMQP 0.9.1, and back.

https://www.rabbitmq.com/docs/mqtt#implementation
"""

from collections.abc import Mapping
from typing import Any

from pika import BasicProperties

from face_messages.message import IDENTITY, Message

#: Where MQTT's topics meet AMQP's routing keys.
EXCHANGE = "amq.topic"

_REPLY_TO = "x-reply-to-topic"
_CORRELATION = "x-correlation-id"
_CLIENT_ID = "x-opt-mqtt-client-id"
# RabbitMQ takes slash and dot of a topic for the same, so names in topics must do without dots.
_WILDCARDS = str.maketrans("/+", ".*")
# Of a short string, in bytes: longer ones have no place among the properties.
_SHORT = 255


def routing_key(topic: str) -> str:
    return topic.replace("/", ".")


def topic_of(key: str) -> str:
    return key.replace(".", "/")


def binding_key(topic_filter: str) -> str:
    """A filter with MQTT's wildcards, as a binding has it. `a/#` includes `a` in both."""
    return topic_filter.translate(_WILDCARDS)


def from_amqp(key: str, properties: BasicProperties, body: bytes) -> Message:
    """What an MQTT subscriber would see, with the publisher's identity as the last user property.

    Identity is the client id that the broker knows. What a publisher itself says of it does not count.
    """
    headers: Mapping[str, Any] = properties.headers or {}
    reply = headers.get(_REPLY_TO)
    correlation = properties.correlation_id or headers.get(_CORRELATION)
    user = [(name, value) for name, value in headers.items() if not name.startswith("x-") and isinstance(value, str)]
    if isinstance(client_id := headers.get(_CLIENT_ID), str):
        user = [*((name, value) for name, value in user if name != IDENTITY), (IDENTITY, client_id)]
    return Message(
        topic_of(key),
        body,
        content_type=properties.content_type,
        user_properties=tuple(user),
        response_topic=topic_of(reply) if isinstance(reply, str) else None,
        correlation_data=correlation.encode() if isinstance(correlation, str) else correlation,
    )


def to_amqp(message: Message) -> BasicProperties:
    """Of an answer: receipts and refusals ask for none themselves."""
    headers: dict[str, Any] = dict(message.user_properties)
    correlation: str | None = None
    if message.correlation_data is not None:
        if len(message.correlation_data) <= _SHORT:
            correlation = message.correlation_data.decode()
        else:
            headers[_CORRELATION] = message.correlation_data
    return BasicProperties(
        content_type=message.content_type, headers=headers or None, correlation_id=correlation, delivery_mode=2
    )
