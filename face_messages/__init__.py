"""Face events and their safe delivery: what the three programs share."""

from face_messages.custody.sender import Sender
from face_messages.custody.taker import Taken, Taker
from face_messages.event import FaceEvent, InvalidEventError, new_id
from face_messages.message import Message
from face_messages.mqtt.session import Session
from face_messages.mqtt.url import BrokerUrl, TlsFiles
from face_messages.outbox.outbox import Outbox
from face_messages.outbox.writer import WhenFull
from face_messages.service.monitor import Monitor

__all__ = [
    "BrokerUrl",
    "FaceEvent",
    "InvalidEventError",
    "Message",
    "Monitor",
    "Outbox",
    "Sender",
    "Session",
    "Taken",
    "Taker",
    "TlsFiles",
    "WhenFull",
    "new_id",
]
