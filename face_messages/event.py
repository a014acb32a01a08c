"""The face event: CloudEvents 1.0 in the binary mode of its MQTT 5 binding, written and read."""

import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, cast

from face_messages.message import Message

EVENT_TYPE = "facedetection.face.v1"
CONTENT_TYPE = "image/png"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_REQUIRED = ("specversion", "id", "source", "type", "time")
_ATTRIBUTES = frozenset((*_REQUIRED, "frame", "framesize", "facebox", "score", "track"))

# No control characters, and nothing that UTF-8 in MQTT or a log line would choke on.
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]+")
_SOURCE = re.compile(r"/edges/(?P<edge>.+?)/cameras/(?P<camera>.+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)", re.ASCII)
_COUNT = re.compile(r"0|[1-9]\d{0,14}", re.ASCII)
_TRACK = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)
_SCORE = re.compile(r"-?\d{1,9}(?:\.\d{1,9})?", re.ASCII)

# In bytes, since it has to fit a correlation: without receipts it would be sent for ever.
_MAX_ID = 256
_MAX_SOURCE = 4096


class InvalidEventError(ValueError):
    """The message is no face event; the text tells the first thing that is wrong with it."""


@dataclass(frozen=True, slots=True)
class FaceEvent:
    """Where and when a face was seen. The picture itself is the message's payload.

    `time` is when the frame was captured (aware, UTC); `framesize` is (width, height) and `facebox`
    (x, y, width, height), both in pixels of the frame; `score` is the detector's confidence;
    `track` is the same for a face as long as it is in view, and for no other face of its source.
    The last five are CloudEvents extensions and so may be absent from others' events.
    """

    id: str
    edge_id: str
    camera_id: str
    time: datetime
    frame: int | None = None
    framesize: tuple[int, int] | None = None
    facebox: tuple[int, int, int, int] | None = None
    score: float | None = None
    track: str | None = None

    @property
    def source(self) -> str:
        return f"/edges/{self.edge_id}/cameras/{self.camera_id}"

    def attributes(self) -> dict[str, str]:
        """The CloudEvents attributes, by name, as they are written in user properties."""
        stamp = self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": EVENT_TYPE,
            "time": stamp,
            "frame": None if self.frame is None else str(self.frame),
            "framesize": self.framesize and ",".join(map(str, self.framesize)),
            "facebox": self.facebox and ",".join(map(str, self.facebox)),
            "score": None if self.score is None else f"{self.score:.4f}",
            "track": self.track,
        }
        return {name: value for name, value in attributes.items() if value is not None}

    def to_message(self, topic: str, png: bytes) -> Message:
        return Message(topic, png, content_type=CONTENT_TYPE, user_properties=tuple(self.attributes().items()))

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Reads strictly: one attribute missing, doubled or malformed, and it is no face event.

        User properties of other names are other people's business and are passed over.

        InvalidEventError: the message is not a face event.
        """
        found: dict[str, str] = {}
        for name, value in message.user_properties:
            if name in _ATTRIBUTES:
                if name in found:
                    raise InvalidEventError(f"attribute {name!r} is there twice")
                found[name] = value
        for name in _REQUIRED:
            if name not in found:
                raise InvalidEventError(f"attribute {name!r} is missing")
        if found["specversion"] != "1.0":
            raise InvalidEventError("specversion is not 1.0")
        if found["type"] != EVENT_TYPE:
            raise InvalidEventError(f"type is not {EVENT_TYPE}")
        if message.content_type != CONTENT_TYPE:
            raise InvalidEventError(f"content type is not {CONTENT_TYPE}")
        if len(found["id"].encode()) > _MAX_ID or not _PRINTABLE.fullmatch(found["id"]):
            raise InvalidEventError(f"id has control characters, nothing at all or more than {_MAX_ID} bytes")
        edge_id, camera_id = _parse_source(found["source"])
        frame, score, track = found.get("frame"), found.get("score"), found.get("track")
        if track is not None and not _TRACK.fullmatch(track):
            raise InvalidEventError("track is not 1 to 64 letters, digits, dots, hyphens and underscores")
        return cls(
            id=found["id"],
            edge_id=edge_id,
            camera_id=camera_id,
            time=_parse_time(found["time"]),
            frame=None if frame is None else _count("frame", frame),
            framesize=cast("tuple[int, int] | None", _numbers(found, "framesize", 2)),
            facebox=cast("tuple[int, int, int, int] | None", _numbers(found, "facebox", 4)),
            score=None if score is None else _parse_score(score),
            track=track,
        )


def _parse_source(text: str) -> tuple[str, str]:
    match = _SOURCE.fullmatch(text) if len(text) <= _MAX_SOURCE and _PRINTABLE.fullmatch(text) else None
    if match is None:
        raise InvalidEventError("source is not /edges/<EDGE_ID>/cameras/<CAMERA_ID>")
    return match["edge"], match["camera"]


def _parse_time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise InvalidEventError("time is not RFC 3339 in UTC, with microseconds at most")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidEventError(f"time is not a date: {error}") from error


def _count(name: str, text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise InvalidEventError(f"{name} holds something that is not a count")
    return int(text)


def _numbers(found: dict[str, str], name: str, how_many: int) -> tuple[int, ...] | None:
    if name not in found:
        return None
    parts = found[name].split(",", how_many)
    if len(parts) != how_many:
        raise InvalidEventError(f"{name} is not {how_many} numbers")
    return tuple(_count(name, part) for part in parts)


def _parse_score(text: str) -> float:
    if not _SCORE.fullmatch(text):
        raise InvalidEventError("score is not a decimal number")
    return float(text)


_id_lock = threading.Lock()
_last_stamp = 0


def new_id() -> str:
    """A UUID version 7 (RFC 9562, section 5.7): unique, and ordered by time within this process.

    The first 60 bits are a timestamp of a quarter of a microsecond (section 6.2, method 3), which is counted on where
    the clock stands still or runs backwards, so ids of one run sort in the order they were made.
    """
    global _last_stamp  # noqa: PLW0603 - the order holds for the whole process
    with _id_lock:
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        stamp = milliseconds << 12 | rest * 4096 // 1_000_000
        _last_stamp = stamp = max(stamp, _last_stamp + 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62
    value |= int.from_bytes(os.urandom(8)) >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
