"""How a saver is: what it says of itself, and the gallery shows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from face_messages.service.health import Amount, Count, Fields, ProgramHealth, Text

#: Cameras that are told of. A name in a key has 128 characters at most.
MAX_CAMERAS = 32


class Latency(Fields):
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
    cameras: Annotated[list[LastStored], Field(max_length=MAX_CAMERAS)]
