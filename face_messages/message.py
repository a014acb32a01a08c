"""A message as the programs see it: what of an MQTT 5 PUBLISH matters to custody."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Self

TOPIC = "facedetection_topic"
RECEIPTS_TOPIC = "facedetection_receipts"
STATUS_TOPIC = "facedetection_status"
CONTROL_TOPIC = "facedetection_control"
STORED_TOPIC = "facedetection_stored"

#: What takers accept at most: payload and properties, in bytes. The shipped brokers let a little more through.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024

#: A receipt is one correlation a line, so neither a line break nor a novel fits.
MAX_CORRELATION_BYTES = 512

#: The user property in which the broker says whose certificate a message came with.
IDENTITY = "identity"
_IDENTITY = IDENTITY.encode()

# The user property that makes an answer a refusal; its value is the reason.
_REFUSED = "refused"
_MAX_REASON = 500

# Characters of properties that need no closer look: written in the longest way they still fit an outbox's margin.
_FEW = 4096

_RECEIPTS_OF_ONE_CLIENT = re.compile(re.escape(RECEIPTS_TOPIC) + r"/[^/+#\x00-\x1f\x7f]{1,256}")


class UserProperties(tuple[tuple[str, str], ...]):  # noqa: SLOT001 - a tuple of any length cannot have any
    """User properties that came by MQTT, and the bytes in which they stood there: passed on, they are not packed anew.

    Made from `(name, value)` pairs; `packed` holds each as MQTT 5.0, section 2.2.2, has it.
    """

    packed: bytes

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]], packed: bytes) -> Self:
        made = cls(pairs)
        made.packed = packed
        return made


@dataclass(frozen=True)
class Message:
    """Topic, payload and the MQTT 5 properties that travel from end to end.

    `user_properties` keep their order and their doubles: what is doubled is for the reader to judge.
    """

    topic: str
    payload: bytes
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    response_topic: str | None = None
    correlation_data: bytes | None = None

    @cached_property
    def size(self) -> int:
        """Payload and user properties as an outbox writes them, in bytes; what makes a message too large to take."""
        properties = sum(map(len, chain.from_iterable(self.user_properties)))
        if properties > _FEW:
            properties = sum(_written(name) + _written(value) + 8 for name, value in self.user_properties)
        return len(self.payload) + properties

    @property
    def identity(self) -> str | None:
        """Who has sent this, as the broker knows from a certificate, or None where there was none.

        The last property of that name counts: the broker appends it, behind whatever the sender itself has written.
        """
        if isinstance(self.user_properties, UserProperties) and _IDENTITY not in self.user_properties.packed:
            return None
        return next((value for name, value in reversed(self.user_properties) if name == IDENTITY), None)

    @cached_property
    def wants_receipt(self) -> bool:
        """Whether a keeper owes a receipt, or a refusal, for this message.

        Any publisher chooses the Response Topic. A keeper that followed it anywhere could be made to write to any topic
        its own rights reach (status, control). So only one client's receipts topic counts: the sender's own, where the
        broker knows it. A receipt for another would make it discard a message that nobody has.
        """
        return (
            self.response_topic is not None
            and self.correlation_data is not None
            and 0 < len(self.correlation_data) <= MAX_CORRELATION_BYTES
            and b"\n" not in self.correlation_data
            and _RECEIPTS_OF_ONE_CLIENT.fullmatch(self.response_topic) is not None
            and ((identity := self.identity) is None or self.response_topic == receipts_topic(identity))
        )


#: Response Topic and Correlation Data.
Reply = tuple[str, bytes]


@dataclass(slots=True)
class Received:
    """A message as it came."""

    message: Message
    packet_id: int | None = None  #: what its acknowledgement must carry; None at QoS 0
    retain: bool = False  #: whether the broker had it from before

    @property
    def topic(self) -> str:
        return self.message.topic


@dataclass(frozen=True, slots=True)
class UnreadablePublish:
    """A PUBLISH over the size limit, or malformed. It is acknowledged all the same, or it would come for ever."""

    topic: str
    packet_id: int | None
    size: int
    reason: str


Incoming = Received | UnreadablePublish


def _written(text: str) -> int:
    """Bytes of a string in JSON and UTF-8, at most: a character may become six, though none of an event's does."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return len(text) if plain else 6 * len(text)


def refusal_of(message: Message, reason: str) -> Message:
    """The answer to a message that `wants_receipt` and that its keeper will never take: a receipt without an id."""
    assert message.response_topic is not None
    properties = ((_REFUSED, printable(reason)),)
    return Message(message.response_topic, b"", user_properties=properties, correlation_data=message.correlation_data)


def reasons_of(user_properties: Iterable[tuple[str, str]]) -> list[str]:
    """Why an answer refuses a message; empty for a receipt. One of several reasons, or with a payload, is malformed."""
    return [printable(value) for name, value in user_properties if name == _REFUSED]


def printable(text: str) -> str:
    """Somebody else's text, fit for a log line and a terminal: of 500 characters at most."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_REASON])


def receipts_topic(client_id: str) -> str:
    return f"{RECEIPTS_TOPIC}/{client_id}"


def status_topic(client_id: str) -> str:
    return f"{STATUS_TOPIC}/{client_id}"


def health_topic(client_id: str) -> str:
    return f"{STATUS_TOPIC}/{client_id}/health"


def control_topic(edge_id: str) -> str:
    """Below it each camera of this edge has its own."""
    return f"{CONTROL_TOPIC}/{edge_id}"
