"""What goes out to a node, and why there is none."""

from pika import exceptions
from pika.channel import Channel

from face_messages.amqp.loop import Loop
from face_messages.amqp.message import EXCHANGE, routing_key, to_amqp
from face_messages.message import Message

# Receipts that the broker does not read, in bytes. Beyond that they are dropped, and their faces come again.
_MAX_UNSENT = 1024 * 1024


class LostError(OSError):
    """The session is over; the text says why."""


class AmqpLink:
    """Publishes and acknowledges, as a link by MQTT does. Valid until the session's connections end."""

    session_present = False
    may_publish = True

    def __init__(self, loop: Loop, taking: Channel, telling: Channel) -> None:
        #: What runs its two channels; messages come by the one, all else by the other.
        self.loop = loop
        self.taking = taking
        self.telling = telling
        #: Whether more is to be read from the broker; the session has the loop do so.
        self.reading = True

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket. AMQPError: the connection is gone, whose end the session hears next."""
        if not self.telling.is_open:
            raise exceptions.ChannelWrongStateError("the connection is gone")
        return int(self.telling.connection._get_write_buffer_size())  # noqa: SLF001 - there is no other way

    def publish(self, message: Message, *, reply: object = None, retain: bool = False) -> int:
        """Sends; no packet id comes back, and no acknowledgement."""
        del reply, retain
        if self.unsent < _MAX_UNSENT:
            self.telling.basic_publish(EXCHANGE, routing_key(message.topic), message.payload, to_amqp(message))
        return 0

    def tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.publish(Message(topic, payload), retain=retain)

    def acknowledge(self, packet_id: int) -> None:
        self.taking.basic_ack(packet_id)


def why(error: BaseException | str) -> str:
    """What pika tells, in words that say what to do."""
    text = str(error)
    if isinstance(error, exceptions.AMQPConnectionError) and error.args:
        inner = error.args[0]
        while isinstance(getattr(inner, "exception", None), BaseException):
            inner = inner.exception
        text = str(inner) or repr(inner)
    if "ACCESS_REFUSED" in text or isinstance(error, exceptions.ProbableAuthenticationError):
        return f"the broker does not let this client in ({text}): check user, password, certificate and permissions"
    return text or repr(error)
