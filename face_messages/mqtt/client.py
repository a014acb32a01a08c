"""paho-mqtt's client, at a tenth of its cost for a face (`python -m dev.bench client`).

paho writes and reads all packets but PUBLISH and PUBACK. These two come with each face, and paho is slow at them, at a
face's properties above all: `face_messages.mqtt.publish` writes and reads PUBLISH. Bytes come and go through a `Wire`.
No message is kept: paho's `publish` would send it again by itself, and that is for an outbox to decide. Packet ids skip
those in use. A client lives as long as its connection, without a thread; one thread calls it.
"""

import socket
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from face_messages.message import Incoming, Message, Reply
from face_messages.mqtt.publish import pack, packet_size, publish_head, read_publish
from face_messages.mqtt.wire import Packet, ProtocolError, Wire

_PACKET_IDS = 65535
# MQTT 5.0, section 2.1.4: the fixed header, and what it can tell the length of.
_LARGEST_PACKET = 5 + 268_435_455

#: A topic filter and how it is subscribed to.
Subscription = tuple[str, SubscribeOptions]

_CONNACK, _PUBLISH, _PUBACK = int(MessageType.CONNACK), int(MessageType.PUBLISH), int(MessageType.PUBACK)
# What else a broker may send to a client that uses QoS 0 and 1.
_OTHER = (MessageType.CONNACK, MessageType.SUBACK, MessageType.PINGRESP, MessageType.DISCONNECT)


class Client(paho.Client):
    """Hands on what arrives in `loop_read`, and sends through `wire` what it is told to.

    `received` is given each PUBLISH, `acknowledged` packet id and reason of each PUBACK. The reason is a number, as
    brokers send some that the specification does not know.
    """

    def __init__(
        self,
        wire: Wire,
        client_id: str,
        *,
        received: Callable[[Incoming], None],
        acknowledged: Callable[[int, int], None],
    ) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
        #: What it reads and writes through.
        self.wire = wire
        self._received = received
        self._acknowledged = acknowledged
        #: Packet ids of what was sent with QoS 1 and has no PUBACK yet.
        self.unacknowledged: set[int] = set()
        #: PUBACKs that came.
        self.acknowledgements = 0

    def send(self, message: Message, properties: bytes, *, qos: int, retain: bool) -> int:
        """Sends a PUBLISH with properties from `pack`, which checks the topic, and returns its packet id."""
        packet_id = self._mid_generate()
        self.wire.write(publish_head(message, properties, packet_id=packet_id, qos=qos, retain=retain))
        if message.payload:
            self.wire.write(message.payload)
        if qos:
            self.unacknowledged.add(packet_id)
        return packet_id

    def acknowledge(self, packet_id: int) -> None:
        """MQTT 5.0, section 3.4; the reason is success."""
        self.wire.write(b"\x40\x02" + packet_id.to_bytes(2))

    def ping(self) -> None:
        check(self._send_pingreq())

    def loop_read(self, max_packets: int = 0) -> MQTTErrorCode:
        """Handles what has arrived, but for at most 2 MiB at once; `max_packets` is paho's and has no meaning.

        OSError: the connection is gone, or (ProtocolError) the broker broke the rules.
        """
        del max_packets
        for packet in self.wire.receive():
            kind = packet.command & 0xF0
            if (kind == _CONNACK) == self.is_connected():
                raise ProtocolError(
                    "a second CONNACK" if kind == _CONNACK else "something else than CONNACK came first"
                )
            if kind == _PUBLISH:
                self._received(read_publish(packet))
            elif kind == _PUBACK:
                self._acknowledged(*self._read_puback(packet.body))
            else:
                self._read_other(packet)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _read_puback(self, body: memoryview) -> tuple[int, int]:
        """MQTT 5.0, section 3.4."""
        if len(body) < 2:
            raise ProtocolError("a PUBACK without a packet id")
        packet_id = body[0] << 8 | body[1]
        if packet_id not in self.unacknowledged:
            raise ProtocolError(f"a PUBACK for packet {packet_id}, which was not sent")
        self.unacknowledged.remove(packet_id)
        self.acknowledgements += 1
        return packet_id, body[2] if len(body) > 2 else 0

    def _read_other(self, packet: Packet) -> None:
        if packet.command not in _OTHER:
            raise ProtocolError(f"an unexpected packet of type {packet.command >> 4}")
        if packet.command == _CONNACK and len(packet.body) == 2:
            raise ProtocolError("the broker answers in MQTT 3.1.1; it must speak MQTT 5, which receipts need")
        body = bytearray(packet.body)
        self._in_packet |= {"command": packet.command, "remaining_length": len(body), "packet": body}
        try:
            check(self._packet_handle())
        except MalformedPacket as error:
            raise ProtocolError(f"a malformed packet of type {packet.command >> 4}: {error}") from error

    # -- paho's own, overridden ---------------------------------------------------------------

    def _create_socket(self) -> socket.socket:
        return self.wire.socket

    def _mid_generate(self) -> int:
        while (packet_id := super()._mid_generate()) in self.unacknowledged:
            pass
        return packet_id

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: paho.MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        del command, mid, qos, info  # there is nobody to tell when it has gone out
        self.wire.write(bytes(packet))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def check(code: MQTTErrorCode) -> None:
    """Raises ProtocolError for what paho tells by a return value."""
    if code:
        raise ProtocolError(paho.error_string(code))


def properties(packet_type: int, **named: int) -> Properties:
    """Properties as paho spells them."""
    made = Properties(packet_type)  # type: ignore[no-untyped-call] # paho's types end here
    for name, value in named.items():
        setattr(made, name, value)
    return made


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
        #: Bytes of a PUBLISH packet that the broker takes at most.
        self.max_packet: int = getattr(connack, "MaximumPacketSize", _LARGEST_PACKET)
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
            if size <= self.max_packet:
                return self._client.send(message, properties, qos=1, retain=retain)
        except (ValueError, OverflowError) as error:
            raise UndeliverableError(f"no valid MQTT packet: {error}") from error
        raise UndeliverableError(f"a packet of {size} bytes, the broker takes {self.max_packet}")

    def tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends with QoS 0, beside all windows; not what is larger than the broker takes."""
        message = Message(topic, payload)
        properties = pack(message)
        if packet_size(message, properties) <= self.max_packet:
            self._client.send(message, properties, qos=0, retain=retain)

    def acknowledge(self, packet_id: int) -> None:
        self._client.acknowledge(packet_id)
