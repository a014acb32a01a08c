"""How a program is: it says so as retained JSON, and others listen. docs/topic-and-qos.md has the fields."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar

from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from face_messages.message import STATUS_TOPIC, Incoming, Received, health_topic, printable
from face_messages.mqtt.client import Link
from face_messages.mqtt.endpoint import Endpoint
from face_messages.outbox.outbox import Outbox
from face_messages.service.settings import Name

log = logging.getLogger(__name__)

VERSION = "0.1.0"

#: What programs say of themselves. Health first, since what is retained comes in this order: one that has said both is
#: off.
FILTERS = (f"{STATUS_TOPIC}/+/health", f"{STATUS_TOPIC}/+")

#: In seconds: how often a program says how it is, and after which time without a word it counts as silent.
EVERY_SECONDS = 10.0
SILENT_SECONDS = 25.0

#: A clock counts as right within this many seconds: words travel for a while.
CLOCK_SECONDS = 60.0

#: What a message may have, in bytes, and how many cameras one of an edge. Texts and names are bounded to fit in.
MAX_BYTES = 16 * 1024
MAX_CAMERAS = 16
#: Cameras that a saver tells of. A name in a key has 128 characters at most.
MAX_STORED_CAMERAS = 32

_LOOK_SECONDS = 1.0
_MAX_TEXT = 120

Text = Annotated[str, AfterValidator(lambda text: printable(text)[:_MAX_TEXT])]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")]


class Fields(BaseModel):
    """Strict, since others may write what they like; unknown fields are a newer version's."""

    model_config = ConfigDict(frozen=True, strict=True)


class ProgramHealth(Fields):
    """Of any program. `time` is when it said this, by its own clock."""

    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    version: Version = VERSION


class OutboxHealth(Fields):
    messages: Count
    bytes: Count
    max_bytes: Count
    oldest_seconds: Amount
    aside: Count  # dead letters
    refusing: bool
    why: Text | None = None

    @classmethod
    def of(cls, outbox: Outbox) -> Self:
        # A disk that fails must not end a link that can do without it.
        age = round(outbox.oldest_age(), 1) if outbox.totals.messages else 0.0
        return cls(
            messages=outbox.totals.messages,
            bytes=outbox.totals.bytes,
            max_bytes=outbox.max_bytes,
            oldest_seconds=age,
            aside=outbox.totals.dead_letters,
            refusing=outbox.trouble is not None,
            why=outbox.trouble,
        )


class CameraHealth(ProgramHealth):
    """Of a detector; `off` and `silent` are what the forwarder says of one that says nothing."""

    camera: Name
    state: Literal["up", "down", "paused", "off", "silent"]
    why: Text | None = None
    selection: Literal["all", "best"] = "all"
    frames_per_second: Amount
    faces_per_minute: Amount
    outbox: OutboxHealth
    last_face: AwareDatetime | None = None


class EdgeHealth(ProgramHealth):
    """Of a forwarder and the detectors at its broker."""

    outbox: OutboxHealth
    link_since: AwareDatetime | None = None
    edge_broker: Literal["up", "down"]
    certificate_ends: AwareDatetime | None = None
    cameras: Annotated[list[CameraHealth], Field(max_length=MAX_CAMERAS)]


class Latency(Fields):
    """Seconds from capture to storage."""

    p50: Amount
    p95: Amount


class StoreHealth(Fields):
    state: Literal["ok", "refusing"]
    why: Text | None
    since: AwareDatetime


class LastStored(Fields):
    edge: str
    camera: str
    last_stored: AwareDatetime
    #: The time that the camera stamped on that face.
    captured: AwareDatetime | None = None


class SaverHealth(ProgramHealth):
    stored_last_minute: Count
    latency: Latency | None
    store: StoreHealth
    cameras: Annotated[list[LastStored], Field(max_length=MAX_STORED_CAMERAS)]


def clock_error(said: datetime, *, waited: float = 0.0) -> float:
    """Seconds by which a clock is ahead that said this just now; negative: behind; 0 where it may be right.

    `waited` is the time, in seconds, that the word may have waited on its way.
    """
    error = (said - datetime.now(UTC)).total_seconds()
    return 0.0 if -CLOCK_SECONDS - waited <= error <= CLOCK_SECONDS else error


def clock_errors(edge: str, health: EdgeHealth) -> dict[str, float]:
    """The clock errors of an edge, and of its cameras as `edge/camera`, by a word of health that came just now."""
    cameras = [each for each in health.cameras if each.state not in ("off", "silent")]
    found = {f"{edge}/{each.camera}": clock_error(each.time, waited=SILENT_SECONDS) for each in cameras}
    return {edge: clock_error(health.time), **found}


Health = TypeVar("Health", bound=ProgramHealth)


def read_health(kind: type[Health], payload: bytes) -> Health | None:
    """What a message says; None where it is not what `kind` asks for."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        log.debug("no %s: %s", kind.__name__, error)
        return None


class Rate:
    """How fast a count grows, as an average over the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks = deque([(time.monotonic(), 0)])

    def per_second(self, count: int) -> float:
        now = time.monotonic()
        self._looks.append((now, count))
        while self._looks[1][0] <= now - self._seconds:
            self._looks.popleft()
        since, first = self._looks[0]
        return round((count - first) / max(1.0, now - since), 2)


class Reporter(Endpoint):
    """Publishes what `read` returns, retained: every 10 s, and within a second when `watch` returns something else.

    Both functions are called in the session's thread.
    """

    def __init__(self, client_id: str, read: Callable[[], ProgramHealth], *, watch: Callable[[], object]) -> None:
        self._topic = health_topic(client_id)
        self._read = read
        self._watch = watch
        self._watched: object = None
        self._look_at = self._due = 0.0
        #: Since when the link is up.
        self.link_since: datetime | None = None

    def connected(self, link: Link) -> None:
        super().connected(link)
        self._look_at = self._due = 0.0
        self.link_since = datetime.now(UTC)

    def disconnected(self) -> None:
        self.link = self.link_since = None

    def work(self, now: float) -> float | None:
        if self.link is None:
            return None
        if now < self._look_at:
            return self._look_at - now
        self._look_at = now + _LOOK_SECONDS
        watched = self._watch()
        if now >= self._due or watched != self._watched:
            self._watched, self._due = watched, now + EVERY_SECONDS
            # With QoS 0, so that no window full of faces keeps it back.
            self.link.tell(self._topic, self._read().model_dump_json().encode(), retain=True)
        return _LOOK_SECONDS


class Listener(Endpoint):
    """Hands what comes on `filters` to `hear`: topic, payload, and whether the broker had it from before.

    An endpoint beside another one. With QoS 0, as the next message makes up for a lost one.
    """

    def __init__(self, filters: Sequence[str], hear: Callable[[str, bytes, bool], None]) -> None:
        self.subscriptions = [(each, SubscribeOptions(qos=0)) for each in filters]
        self._hear = hear

    def received(self, packet: Incoming) -> None:
        if isinstance(packet, Received):
            self._hear(packet.topic, packet.message.payload, packet.retain)
