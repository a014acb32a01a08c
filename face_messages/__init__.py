"""Face events and their safe delivery: what the three programs share."""

from face_messages.broker_url import BrokerUrl, TlsFiles
from face_messages.connection import Connection
from face_messages.event import FaceEvent, InvalidEventError, new_id
from face_messages.message import Message
from face_messages.monitor import Monitor
from face_messages.outbox import Outbox
from face_messages.outbox_batch import WhenFull
from face_messages.sender import Sender
from face_messages.taker import Taken, Taker

__all__ = [
    "BrokerUrl",
    "Connection",
    "FaceEvent",
    "InvalidEventError",
    "Message",
    "Monitor",
    "Outbox",
    "Sender",
    "Taken",
    "Taker",
    "TlsFiles",
    "WhenFull",
    "new_id",
]
