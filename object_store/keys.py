"""Where in the bucket a message belongs. The key follows from the message alone, so saving it twice is harmless."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from face_messages import FaceEvent, InvalidEventError, Message

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_NAME = 128
_MAX_METADATA = 256
# A lone dot inside a name is harmless; a leading one hides a file, and two are the way up.
_RISKY_DOT = re.compile(r"^\.|\.(?=\.)|(?<=\.)\.|\.$")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it is to be written."""

    key: str
    body: bytes
    content_type: str
    metadata: dict[str, str]
    captured_at: datetime | None


def object_for(message: Message, *, received_at: datetime) -> StoredObject:
    """The object that a message becomes.

    Args:
        message: any message at all.
        received_at: aware; its day (UTC) files what is no face event.

    """
    try:
        event = FaceEvent.from_message(message)
    except InvalidEventError:
        return _unattributed(message.payload, received_at.astimezone(UTC))
    if message.identity not in (None, event.edge_id):
        claim = {"identity": message.identity, "source": event.source}
        return _unattributed(message.payload, received_at.astimezone(UTC), _metadata(claim))
    return StoredObject(
        key=face_key(event),
        body=message.payload,
        content_type="image/png",
        metadata=_metadata(event.attributes()),
        captured_at=event.time,
    )


def face_key(event: FaceEvent) -> str:
    return f"{camera_folder(event.edge_id, event.camera_id)}{moment(event.time)}-{safe_name(event.id)}.png"


def camera_folder(edge_id: str, camera_id: str) -> str:
    """What the keys of all faces that a camera saw begin with."""
    return f"faces/{safe_name(edge_id)}/{safe_name(camera_id)}/"


def moment(time: datetime) -> str:
    """What follows in the key of a face that was seen then (UTC); keys sort by it."""
    year = f"{time.year:04}"  # strftime does not pad the years before 1000
    return f"{year}/{time:%m}/{time:%d}/{year}{time:%m%dT%H%M%S.%fZ}"


def safe_name(name: str) -> str:
    """A name as one segment of a key: percent-encoded where it must be, of 128 characters at most, one to one.

    A longer one is cut and told apart by its hash behind `~`, which no other name can hold.
    """
    encoded = quote(name, safe="").replace("~", "%7E")
    return _bounded(_RISKY_DOT.sub("%2E", encoded), _MAX_NAME)


def note_about(stored: StoredObject, refused: str) -> StoredObject:
    """What is left in the bucket where an object should be: a few lines of JSON under a name that nobody can object to.

    One object has one note, however often it is refused.
    """
    about = {"key": stored.key, "bytes": len(stored.body), "refused": refused}
    name = hashlib.sha256(stored.key.encode()).hexdigest()
    body = json.dumps(about, indent=1).encode()
    return StoredObject(f"unrecognized/refused/{name}.json", body, "application/json", {}, None)


def _bounded(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{text[: longest - 33]}~{digest}"


def _printable(value: str) -> str:
    # Object metadata travels as HTTP headers.
    return quote(value, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~")


def _metadata(values: dict[str, str]) -> dict[str, str]:
    return {name: _bounded(_printable(value), _MAX_METADATA) for name, value in values.items()}


def _unattributed(payload: bytes, received_at: datetime, metadata: dict[str, str] | None = None) -> StoredObject:
    digest = hashlib.sha256(payload).hexdigest()
    day = f"{received_at:%Y/%m/%d}"
    if payload.startswith(PNG_SIGNATURE):
        return StoredObject(f"faces/unattributed/{day}/{digest}.png", payload, "image/png", metadata or {}, None)
    return StoredObject(f"unrecognized/{day}/{digest}", payload, "application/octet-stream", metadata or {}, None)
