"""One connection to a broker, from CONNACK to its end: what a `Sender` or a `Taker` may do on it."""

from __future__ import annotations

import mqtt5

from face_messages.message import Message
from face_messages.wire import ProtocolError, Wire

_PACKET_IDS = 65535

#: Response Topic and Correlation Data.
Reply = tuple[str, bytes]


class UndeliverableError(ValueError):
    """This broker can never take the message; the text tells why."""


class Link:
    """Publishes and acknowledges. Valid until the connection ends; packet ids mean nothing on the next one."""

    def __init__(self, wire: Wire, connack: mqtt5.ConnAckPacket) -> None:
        self._wire = wire
        #: False where the broker has forgotten this client, and what it held for others may be gone too.
        self.session_present = connack.session_present
        self.shared_subscriptions = connack.shared_subscription_available
        #: PUBLISH packets that may be unacknowledged at a time.
        self.receive_maximum = connack.receive_max
        #: Bytes of a PUBLISH packet, or None where the broker names no limit.
        self.max_packet = connack.max_packet_size
        #: Whether more is to be read from the broker; a taker that holds too much turns it off for a while.
        self.reading = True
        self._unacknowledged: set[int] = set()
        self._last_id = 0

    @property
    def may_publish(self) -> bool:
        # One id is left over for the farewell.
        return len(self._unacknowledged) < min(self.receive_maximum, _PACKET_IDS - 1)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket."""
        return self._wire.unsent

    def publish(self, message: Message, *, reply: Reply | None = None, retain: bool = False) -> int:
        """Sends with QoS 1 and returns the packet id that its PUBACK will carry.

        `reply` says where an answer goes, in place of what the message says.

        Raises:
            UndeliverableError: the packet would be larger than the broker takes, or cannot be written at all.

        """
        topic, correlation = reply or (message.response_topic, message.correlation_data)
        packet_id = self.new_packet_id()
        try:
            packet = mqtt5.PublishPacket(
                message.topic,
                message.payload,
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain=retain,
                packet_id=packet_id,
                content_type=message.content_type,
                response_topic=topic,
                correlation_data=correlation,
                user_properties=list(message.user_properties),
            ).write()
        except (ValueError, IndexError, OverflowError) as error:
            raise UndeliverableError(f"no valid MQTT packet: {error}") from error
        if self.max_packet is not None and len(packet) > self.max_packet:
            raise UndeliverableError(f"a packet of {len(packet)} bytes, the broker takes {self.max_packet}")
        self._unacknowledged.add(packet_id)
        self._wire.write(packet)
        return packet_id

    def tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends with QoS 0, beside all windows; not what is larger than the broker takes."""
        packet = mqtt5.PublishPacket(topic, payload, retain=retain).write()
        if self.max_packet is None or len(packet) <= self.max_packet:
            self._wire.write(packet)

    def acknowledge(self, packet_id: int) -> None:
        self._wire.write(mqtt5.PubAckPacket(packet_id).write())

    def acknowledged(self, packet_id: int) -> None:
        """Takes note of a PUBACK.

        Raises:
            ProtocolError: for a packet that was not sent.

        """
        if packet_id not in self._unacknowledged:
            raise ProtocolError(f"a PUBACK for packet {packet_id}, which was not sent")
        self._unacknowledged.remove(packet_id)

    def new_packet_id(self) -> int:
        """A packet id that no unacknowledged PUBLISH carries."""
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._unacknowledged:
                return self._last_id
