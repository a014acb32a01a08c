"""The fast reading and writing of PUBLISH packets, held against paho's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from face_messages.message import Message, Received, UnreadablePublish
from face_messages.mqtt.publish import pack, packet_size, read_publish
from face_messages.mqtt.wire import Packet, ProtocolError
from tests.support import raw

# A byte order mark is a character like others (MQTT 5.0, section 1.5.4); paho refuses it.
MARK = "\ufeff"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0" + MARK), max_size=20)
TOPIC = TEXT.filter(lambda text: text and "+" not in text and "#" not in text)
MESSAGES = st.builds(
    Message,
    TOPIC,
    st.binary(max_size=300),
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=15).map(tuple),
    st.none() | TOPIC,
    st.none() | st.binary(max_size=300),
)


def paho_properties(message: Message) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's types end here
    named = {
        "ContentType": message.content_type,
        "ResponseTopic": message.response_topic,
        "CorrelationData": message.correlation_data,
        "UserProperty": list(message.user_properties) or None,
    }
    for name, value in named.items():
        if value is not None:
            setattr(made, name, value)
    return made


def publish(message: Message, properties: bytes) -> bytes:
    """What stands in a PUBLISH of QoS 1 behind the fixed header."""
    return raw.string(message.topic.encode()) + b"\x00\x07" + properties + message.payload


def ours(body: bytes, command: int = 0x32) -> Received | UnreadablePublish:
    return read_publish(Packet(command, memoryview(body), 2 + len(body)))


def paho_s(body: bytes, command: int = 0x32) -> Received | None:
    """What paho makes of the same; None where it is malformed."""
    try:
        packet = _packet.decode_publish(command, bytearray(body), MQTTProtocolVersion.MQTTv5)
        topic = packet.topic.decode()
    except (MalformedPacket, UnicodeDecodeError):
        return None
    said: Any = packet.properties
    message = Message(
        topic,
        bytes(packet.payload),
        getattr(said, "ContentType", None),
        tuple(getattr(said, "UserProperty", ())),
        getattr(said, "ResponseTopic", None),
        getattr(said, "CorrelationData", None),
    )
    return Received(message, packet.mid if packet.qos else None, packet.retain)


@given(MESSAGES)
def test_what_is_packed_is_what_paho_packs(message: Message) -> None:
    """Byte for byte."""
    packed = pack(message)
    assert packed == bytes(paho_properties(message).pack())  # type: ignore[no-untyped-call]
    assert paho_s(publish(message, packed)) == Received(message, 7)


@given(MESSAGES)
def test_what_paho_packs_is_read(message: Message) -> None:
    theirs = bytes(paho_properties(message).pack())  # type: ignore[no-untyped-call]
    assert ours(publish(message, theirs)) == Received(message, 7)


@given(MESSAGES, TOPIC, st.binary(max_size=40))
def test_a_reply_stands_in_place_of_what_the_message_says(message: Message, topic: str, correlation: bytes) -> None:
    read = ours(publish(message, pack(message, (topic, correlation))))
    assert isinstance(read, Received)
    assert (read.message.response_topic, read.message.correlation_data) == (topic, correlation)
    assert read.message.user_properties == message.user_properties


@given(MESSAGES, TOPIC)
def test_what_came_is_passed_on_byte_for_byte(message: Message, topic: str) -> None:
    """Though its user properties are not packed anew."""
    read = ours(publish(message, pack(message)))
    assert isinstance(read, Received)
    assert pack(read.message) == pack(message)
    reply = topic, b"1"
    assert pack(read.message, reply) == pack(message, reply)
    assert pack(replace(read.message, user_properties=(("a", "b"),))) == pack(
        replace(message, user_properties=(("a", "b"),))
    )


def test_user_properties_that_do_not_stand_together_are_passed_on() -> None:
    """In their order."""
    region = raw.user_property(b"a", b"1") + raw.content_type(b"image/png") + raw.user_property(b"identity", b"x")
    read = ours(raw.string(b"t") + b"\x00\x07" + raw.varint(len(region)) + region)
    assert isinstance(read, Received)
    assert read.message.identity == "x"
    assert pack(read.message) == pack(Message("t", b"", "image/png", (("a", "1"), ("identity", "x"))))


@pytest.mark.parametrize(("pairs", "identity"), [((("a", "identity"),), None), ((("identity", "x"), ("b", "")), "x")])
def test_the_identity_of_what_came(pairs: tuple[tuple[str, str], ...], identity: str | None) -> None:
    read = ours(publish(Message("t", b""), pack(Message("t", b"", user_properties=pairs))))
    assert isinstance(read, Received)
    assert read.message.identity == identity


@given(MESSAGES)
def test_the_size_is_known_before_it_is_written(message: Message) -> None:
    packed = pack(message)
    assert packet_size(message, packed) == len(raw.packet(0x32, publish(message, packed)))


@pytest.mark.parametrize("payload", [0, 100, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_the_size_is_known_where_the_length_grows(payload: int) -> None:
    message = Message("t", bytes(payload))
    assert packet_size(message, b"\0") == len(raw.packet(0x32, publish(message, b"\0")))


# Properties of all kinds, in any order and number, some broken.
PROPERTY = st.one_of(
    st.builds(lambda kind, text: bytes([kind]) + raw.string(text), st.sampled_from([3, 8, 9]), st.binary(max_size=6)),
    st.builds(raw.user_property, TEXT.map(str.encode), st.binary(max_size=6)),
    st.sampled_from([b"\x01\x00", b"\x01\x01", b"\x01\x02", b"\x02\x00\x00\x00\x09", b"\x23\x00\x00", b"\x23\x00\x01"]),
    st.sampled_from([b"\x0b\x00", b"\x0b\x07", b"\x0b\x80\x01", b"\x0b\xff\xff\xff\x7f", b"\x0b\xff\xff\xff\xff\x7f"]),
    st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 127), st.binary(max_size=6)),
)
REGIONS = st.lists(PROPERTY, max_size=6).map(b"".join) | st.binary(max_size=60)


@given(
    region=REGIONS, command=st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x3A]), lie=st.sampled_from([0, 0, 0, 1, -1, 50])
)
@example(region=raw.user_property(b"n", b"\x00"), command=0x32, lie=0)
@example(region=raw.content_type(b"a") * 2, command=0x32, lie=0)
@example(region=b"\x11\x00\x00\x00\x01", command=0x32, lie=0)
@example(region=b"\x26\x00\x01a", command=0x32, lie=0)
def test_whatever_paho_refuses_is_refused_and_what_both_read_is_the_same(region: bytes, command: int, lie: int) -> None:
    """`lie` is what the properties' length says too much. Nothing is raised, and all can be acknowledged."""
    packet_id = b"\x00\x07" if command & 0x06 else b""
    body = raw.string(b"t/u") + packet_id + raw.varint(max(0, len(region) + lie)) + region
    read, theirs = ours(body, command), paho_s(body, command)
    assert read.topic == "t/u"
    assert read.packet_id == (7 if packet_id else None)
    if isinstance(read, Received):
        assert read == theirs or (theirs is None and has_mark(read.message))
    elif theirs is not None:
        # paho reads a number beyond the properties' end, and a kind written with more bytes than it needs.
        assert read.reason == "a property that is cut short" or "which a PUBLISH cannot have" in read.reason


def has_mark(message: Message) -> bool:
    texts = [message.content_type, message.response_topic, *(text for pair in message.user_properties for text in pair)]
    return any(MARK in text for text in texts if text is not None)


def test_a_byte_order_mark_is_a_character() -> None:
    """The one thing that paho refuses and the specification allows (MQTT-1.5.4-3)."""
    message = Message("t", b"", user_properties=(("n", f"{MARK}v"),))
    body = publish(message, pack(message))
    assert ours(body) == Received(message, 7)
    assert paho_s(body) is None


@given(body=st.binary(max_size=60), command=st.sampled_from([0x30, 0x32]))
def test_any_bytes_are_read_or_refused(body: bytes, command: int) -> None:
    """What cannot even be acknowledged ends the connection."""
    try:
        read = ours(body, command)
    except ProtocolError:
        assert paho_s(body, command) is None
        return
    theirs = paho_s(body, command)
    if isinstance(read, Received):
        assert read == theirs or (theirs is None and has_mark(read.message))


@pytest.mark.parametrize(
    "message",
    [
        Message("", b""),
        Message("a\0b", b""),
        Message("a/#", b""),
        Message("+", b""),
        Message("t" * 65_536, b""),
        Message("t", b"", content_type="\0"),
        Message("t", b"", response_topic="a/#"),
        Message("t", b"", response_topic="+"),
        Message("t", b"", response_topic=""),
        Message("t", b"", user_properties=(("n", "\0"),)),
        Message("t", b"", user_properties=(("n", "\ud800"),)),
        Message("t", b"", user_properties=(("n" * 65_536, ""),)),
        Message("t", b"", correlation_data=bytes(65_536)),
    ],
)
def test_what_mqtt_does_not_allow_is_not_packed(message: Message) -> None:
    """A broker would hang up at it, each time."""
    with pytest.raises((ValueError, OverflowError)):
        pack(message)
