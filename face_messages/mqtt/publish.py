"""PUBLISH packets: written and read, their properties each in one plain loop.

paho's `Properties` do the same at many times the cost. MQTT 5.0, sections 2.2.2 and 3.3.
"""

from face_messages.message import Incoming, Message, Received, Reply, UnreadablePublish, UserProperties
from face_messages.mqtt.wire import Packet, ProtocolError

_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION_DATA, _USER_PROPERTY = 3, 8, 9, 38
_PUBLISH = 0x30
_FORMAT, _EXPIRY, _SUBSCRIPTION, _ALIAS = 1, 2, 11, 35
# Bytes of what means nothing here.
_PASSED_OVER = {_FORMAT: 1, _EXPIRY: 4, _ALIAS: 2}


def pack(message: Message, reply: Reply | None = None) -> bytes:
    """The properties of a message, as they stand in a PUBLISH; `reply` in place of what the message says.

    ValueError: text that MQTT does not allow, in topic or property. OverflowError: it is longer than 65,535 bytes.
    """
    _topic(message.topic)
    topic, correlation = reply or (message.response_topic, message.correlation_data)
    parts: list[bytes] = []
    if message.content_type is not None:
        parts += (b"\x03", _string(message.content_type))
    if topic is not None:
        parts += (b"\x08", _topic(topic))
    if correlation is not None:
        parts += (b"\x09", len(correlation).to_bytes(2), correlation)
    user = message.user_properties
    if isinstance(user, UserProperties):
        parts.append(user.packed)
    else:
        for name, value in user:
            first, second = name.encode(), value.encode()
            parts += (b"\x26", len(first).to_bytes(2), first, len(second).to_bytes(2), second)
            if "\0" in name or "\0" in value:
                raise ValueError("a null character")
    packed = b"".join(parts)
    return _variable_integer(len(packed)) + packed


def publish_head(message: Message, properties: bytes, *, packet_id: int, qos: int, retain: bool) -> bytes:
    """All of its PUBLISH but the payload, with properties from `pack`."""
    topic = message.topic.encode()
    behind = len(topic).to_bytes(2) + topic + (packet_id.to_bytes(2) if qos else b"") + properties
    length = _variable_integer(len(behind) + len(message.payload))
    return (_PUBLISH | qos << 1 | retain).to_bytes() + length + behind


def packet_size(message: Message, properties: bytes) -> int:
    """Bytes of its PUBLISH, at QoS 1."""
    body = 2 + len(message.topic.encode()) + 2 + len(properties) + len(message.payload)
    return 1 + len(_variable_integer(body)) + body


def read_publish(packet: Packet) -> Incoming:
    """What a PUBLISH says. Unreadable is what is too large, or malformed where the broker did not mind.

    ProtocolError: it is so short that it could not even be acknowledged.
    """
    body = packet.body
    end = 2 + int.from_bytes(body[:2])
    begin = end + 2 if packet.command & 0x06 else end
    if begin > len(body):
        raise ProtocolError("a PUBLISH shorter than its topic")
    topic = bytes(body[2:end])
    packet_id = int.from_bytes(body[end:begin]) if begin > end else None
    reason = packet.passed_over
    if not reason:
        try:
            return Received(_read_message(topic, body, begin), packet_id, retain=packet.command & 0x01 == 1)
        except UnicodeDecodeError:
            reason = "text that is no UTF-8"
        except IndexError:
            reason = "a property that is cut short"
        except ValueError as error:
            reason = str(error)
    return UnreadablePublish(topic.decode(errors="replace"), packet_id, packet.size, reason)


def _read_message(topic: bytes, body: memoryview, at: int) -> Message:
    if not topic or 0 in topic:
        raise ValueError("no topic, or a null character in it")
    length, at = _read_integer(body, at)
    end = at + length
    if end > len(body):
        raise ValueError("properties that are cut short")
    return Message(topic.decode(), bytes(body[end:]), *_read_properties(bytes(body[at:end])))


def _read_properties(data: bytes) -> tuple[str | None, tuple[tuple[str, str], ...], str | None, bytes | None]:
    """Content Type, user properties, Response Topic and Correlation Data, as `Message` has them."""
    single: dict[int, bytes | None] = {}
    pairs: list[tuple[str, str]] = []
    packed = b""
    at, end = 0, len(data)
    while at < end:
        kind = data[at]
        if kind == _USER_PROPERTY:
            first = at
            while at < end and data[at] == _USER_PROPERTY:
                begin = at + 3
                middle = begin + (data[at + 1] << 8 | data[at + 2])
                at = middle + 2 + (data[middle] << 8 | data[middle + 1])
                name, value = data[begin:middle].decode(), data[middle + 2 : at].decode()
                if "\0" in name or "\0" in value:
                    raise ValueError("a null character")
                pairs.append((name, value))
            packed += data[first:at]
        elif kind == _SUBSCRIPTION:
            number, at = _read_integer(data, at + 1)
            if not number:
                raise ValueError("a subscription identifier of 0")
        else:
            if kind in single:
                raise ValueError(f"property {kind} twice")
            if kind in (_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION_DATA):
                begin = at + 3
                at = begin + (data[at + 1] << 8 | data[at + 2])
                single[kind] = data[begin:at]
            elif kind in _PASSED_OVER:
                begin = at + 1
                at = begin + _PASSED_OVER[kind]
                number = int.from_bytes(data[begin:at])
                if at <= end and ((kind == _FORMAT and number > 1) or (kind == _ALIAS and not number)):
                    raise ValueError(f"property {kind} of {number}")
                single[kind] = None
            else:
                raise ValueError(f"property {kind}, which a PUBLISH cannot have")
    if at > end:
        raise ValueError("a property that is cut short")
    content_type, response_topic = _text(single.get(_CONTENT_TYPE)), _text(single.get(_RESPONSE_TOPIC))
    user = UserProperties.read(pairs, packed) if pairs else ()
    return content_type, user, response_topic, single.get(_CORRELATION_DATA)


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    if 0 in data:
        raise ValueError("a null character")
    return data.decode()


def _topic(text: str) -> bytes:
    if not text or "+" in text or "#" in text:
        raise ValueError("a topic that is empty or has wildcards")
    return _string(text)


def _string(text: str) -> bytes:
    data = text.encode()
    if 0 in data:
        raise ValueError("a null character")
    return len(data).to_bytes(2) + data


def _variable_integer(number: int) -> bytes:
    """MQTT 5.0, section 1.5.5; and the other way round."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_integer(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = 0
    for shift in (0, 7, 14, 21):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a length of more than four bytes")
