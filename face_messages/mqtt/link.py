"""One connection to a broker, from CONNACK to its end: what a `Sender` or a `Taker` may do on it."""

from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from face_messages.message import Message, Reply
from face_messages.mqtt.client import Client, check
from face_messages.mqtt.publish import pack, packet_size

_PACKET_IDS = 65535

#: A topic filter and how it is subscribed to.
Subscription = tuple[str, SubscribeOptions]


class UndeliverableError(ValueError):
    """This broker can never take the message; the text tells why."""


class Link:
    """Publishes and acknowledges. Valid until the connection ends; packet ids mean nothing on the next one.

    `connack` is what the broker says of itself.
    """

    def __init__(self, client: Client, *, session_present: bool, connack: Properties | None) -> None:
        self._client = client
        #: False where the broker has forgotten this client, and what it held for others may be gone too.
        self.session_present = session_present
        #: PUBLISH packets that may be unacknowledged at a time.
        self.receive_maximum: int = getattr(connack, "ReceiveMaximum", _PACKET_IDS)
        #: Bytes of a PUBLISH packet, or None where the broker names no limit.
        self.max_packet: int | None = getattr(connack, "MaximumPacketSize", None)
        #: Whether more is to be read from the broker; a taker that holds too much turns it off for a while.
        self.reading = True

    @property
    def may_publish(self) -> bool:
        # One id is left over for the farewell.
        return len(self._client.unacknowledged) < min(self.receive_maximum, _PACKET_IDS - 1)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket."""
        return self._client.wire.unsent

    def publish(self, message: Message, *, reply: Reply | None = None, retain: bool = False) -> int:
        """Sends with QoS 1 and returns the packet id that its PUBACK will carry.

        `reply` says where an answer goes, in place of what the message says.

        UndeliverableError: the packet would be larger than the broker takes, or cannot be written at all.
        """
        try:
            properties = pack(message, reply)
            size = packet_size(message, properties)
            if self._fits(size):
                return self._client.send(message, properties, qos=1, retain=retain)
        except (ValueError, OverflowError) as error:
            raise UndeliverableError(f"no valid MQTT packet: {error}") from error
        raise UndeliverableError(f"a packet of {size} bytes, the broker takes {self.max_packet}")

    def tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends with QoS 0, beside all windows; not what is larger than the broker takes."""
        message = Message(topic, payload)
        properties = pack(message)
        if self._fits(packet_size(message, properties)):
            self._client.send(message, properties, qos=0, retain=retain)

    def acknowledge(self, packet_id: int) -> None:
        check(self._client.ack(packet_id, 1))

    def _fits(self, size: int) -> bool:
        return self.max_packet is None or size <= self.max_packet
