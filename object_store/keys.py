"""Where in the bucket a message belongs. The key follows from the message alone, so saving it twice is harmless."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import quote

from face_messages import FaceEvent, InvalidEventError, Message
from face_messages.event import PNG_SIGNATURE
from face_messages.names import bounded, safe_name

_SAFE = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"
# Nothing to be encoded, as nearly always. To see that is far cheaper than to encode.
_PLAIN = re.compile(r"[ -$&-\[\]-~]*").fullmatch
_MAX_METADATA = 256


@dataclass(frozen=True)
class StoredObject:
    """An object as it is to be written."""

    key: str
    body: bytes
    content_type: str
    metadata: dict[str, str]
    captured_at: datetime | None

    @cached_property
    def md5(self) -> bytes:
        """Of the body."""
        return hashlib.md5(self.body, usedforsecurity=False).digest()


def object_for(message: Message, *, received_at: datetime) -> StoredObject:
    """The object that any message becomes. What is no face event is filed under the day (UTC) of `received_at`."""
    try:
        event = FaceEvent.from_message(message)
    except InvalidEventError:
        return _unattributed(message.payload, received_at, {})
    if message.identity not in (None, event.edge_id):
        return _unattributed(message.payload, received_at, {"identity": message.identity, "source": event.source})
    return StoredObject(face_key(event), message.payload, "image/png", _metadata(event.attributes()), event.time)


def face_key(event: FaceEvent) -> str:
    return f"{camera_folder(event.edge_id, event.camera_id)}{moment(event.time)}-{safe_name(event.id)}.png"


def camera_folder(edge_id: str, camera_id: str) -> str:
    """The beginning of the keys of all faces that a camera saw."""
    return f"faces/{safe_name(edge_id)}/{safe_name(camera_id)}/"


def moment(time: datetime) -> str:
    """The part of a face's key that tells when (UTC) it was seen; keys sort by it."""
    iso = time.isoformat(timespec="microseconds")  # unlike strftime it pads the years before 1000, and it is cheap
    year, month, day = iso[:4], iso[5:7], iso[8:10]
    return f"{year}/{month}/{day}/{year}{month}{day}T{iso[11:13]}{iso[14:16]}{iso[17:26]}Z"


def note_about(stored: StoredObject, refused: str) -> StoredObject:
    """What lies in the bucket instead of a refused object: a few lines of JSON under a name that any store takes.

    One object has one note, however often it is refused.
    """
    about = {"key": stored.key, "bytes": len(stored.body), "refused": refused}
    name = hashlib.sha256(stored.key.encode()).hexdigest()
    body = json.dumps(about, indent=1).encode()
    return StoredObject(f"unrecognized/refused/{name}.json", body, "application/json", {}, None)


def _metadata(values: dict[str, str]) -> dict[str, str]:
    """Values travel as HTTP headers: percent-encoded but for most of what is printable, and bounded."""
    return {
        name: bounded(value if _PLAIN(value) else quote(value, safe=_SAFE), _MAX_METADATA)
        for name, value in values.items()
    }


def _unattributed(payload: bytes, received_at: datetime, claim: dict[str, str]) -> StoredObject:
    place = f"{received_at.astimezone(UTC):%Y/%m/%d}/{hashlib.sha256(payload).hexdigest()}"
    if payload.startswith(PNG_SIGNATURE):
        return StoredObject(f"faces/unattributed/{place}.png", payload, "image/png", _metadata(claim), None)
    return StoredObject(f"unrecognized/{place}", payload, "application/octet-stream", _metadata(claim), None)
