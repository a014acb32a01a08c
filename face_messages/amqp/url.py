"""Where a node is and how to get in: `amqp://host:5672`, `amqps://user:password@host:5671`."""

from dataclasses import dataclass
from typing import ClassVar

from face_messages.mqtt.url import BrokerUrl


@dataclass(frozen=True, slots=True)
class AmqpUrl(BrokerUrl):
    """A parsed AMQP URL. Printing one never shows the password."""

    PORTS: ClassVar[dict[str, int]] = {"amqp": 5672, "amqps": 5671}
