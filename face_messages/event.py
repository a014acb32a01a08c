"""The face event: CloudEvents 1.0 in the binary mode of its MQTT 5 binding, written and read."""

import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from face_messages.message import Message

EVENT_TYPE = "facedetection.face.v1"
CONTENT_TYPE = "image/png"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_REQUIRED = ("specversion", "id", "source", "type", "time")

# In bytes, since it has to fit a correlation: without receipts it would be sent for ever.
_MAX_ID = 256
# Characters of any attribute.
_LONGEST = 4096

# No control characters, and nothing that UTF-8 in MQTT or a log line would choke on.
_PRINTABLE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]"
_COUNT = r"(0|[1-9]\d{0,14})"
_DATE_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)"

# Each attribute, as a pattern and in words.
_SHAPES = {
    name: (re.compile(pattern, re.ASCII), words)
    for name, pattern, words in (
        ("specversion", r"1\.0", "1.0"),
        ("id", f"{_PRINTABLE}+", f"1 to {_MAX_ID} bytes without control characters"),
        ("source", f"/edges/({_PRINTABLE}+?)/cameras/({_PRINTABLE}+)", "/edges/<EDGE_ID>/cameras/<CAMERA_ID>"),
        ("type", re.escape(EVENT_TYPE), EVENT_TYPE),
        ("time", _DATE_TIME, "RFC 3339 in UTC, with microseconds at most"),
        ("frame", _COUNT, "a count"),
        ("framesize", f"{_COUNT},{_COUNT}", "two counts with a comma between"),
        ("facebox", f"{_COUNT},{_COUNT},{_COUNT},{_COUNT}", "four counts with commas between"),
        ("score", r"-?\d{1,9}(?:\.\d{1,9})?", "a decimal number"),
        ("track", r"[0-9A-Za-z._-]{1,64}", "1 to 64 letters, digits, dots, hyphens and underscores"),
    )
}


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
        found: dict[str, re.Match[str]] = {}
        for name, value in message.user_properties:
            if name not in _SHAPES:
                continue
            if name in found:
                raise InvalidEventError(f"attribute {name!r} is there twice")
            pattern, words = _SHAPES[name]
            match = pattern.fullmatch(value) if len(value) <= _LONGEST else None
            if match is None or (name == "id" and len(value.encode()) > _MAX_ID):
                raise InvalidEventError(f"{name} is not {words}")
            found[name] = match
        for name in _REQUIRED:
            if name not in found:
                raise InvalidEventError(f"attribute {name!r} is missing")
        if message.content_type != CONTENT_TYPE:
            raise InvalidEventError(f"content type is not {CONTENT_TYPE}")
        edge_id, camera_id = found["source"].groups()
        return cls(
            id=found["id"][0],
            edge_id=edge_id,
            camera_id=camera_id,
            time=_date_time(found["time"][0]),
            frame=int(found["frame"][0]) if "frame" in found else None,
            framesize=_counts(found.get("framesize")),
            facebox=_counts(found.get("facebox")),
            score=float(found["score"][0]) if "score" in found else None,
            track=found["track"][0] if "track" in found else None,
        )


def _date_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidEventError(f"time is not a date: {error}") from error


def _counts(match: re.Match[str] | None) -> Any:
    return None if match is None else tuple(map(int, match.groups()))


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
    return str(UUID(int=value))
