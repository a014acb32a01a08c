"""How the edges are, as figures for Prometheus, which cannot reach them behind their NAT."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud_saver.clocks import Clocks
from face_messages.message import STATUS_TOPIC
from face_messages.service.health import (
    MAX_CAMERAS,
    SILENT_SECONDS,
    CameraHealth,
    EdgeHealth,
    OutboxHealth,
    clock_errors,
    read_health,
)
from face_messages.service.monitor import PREFIX

# Health first, since what is retained comes in this order: an edge that has said both is off.
FILTERS = (f"{STATUS_TOPIC}/+/health", f"{STATUS_TOPIC}/+")

# Names that begin with cloud_ belong to programs in the cloud. As many as may connect at a time.
_TOPIC = re.compile(STATUS_TOPIC + r"/(?P<edge>(?!cloud_)[A-Za-z0-9][A-Za-z0-9._-]{0,62})(?P<health>/health)?")
_MAX_EDGES = 500
# Long enough for Prometheus to see, in seconds.
_FORGOTTEN_SECONDS = 300.0

_FAMILIES = {
    "up": "1 while the edge's forwarder is connected and heard of",
    "last_heard_timestamp_seconds": "when the edge was last heard of",
    "link_up_since_timestamp_seconds": "since when the edge is connected to the cloud broker",
    "broker_up": "1 while the edge's forwarder is connected to the edge broker",
    "clock_error_seconds": "how far the edge's clock is ahead, negative: behind; 0 within a minute",
    "certificate_expires_timestamp_seconds": "when the edge's certificate ends",
    "outbox_messages": "messages on the edge's disk; with a camera in its detector's outbox, else in the forwarder's",
    "outbox_bytes": "bytes on the edge's disk that messages take up",
    "outbox_max_bytes": "bytes that the outbox may take up",
    "outbox_oldest_age_seconds": "age of the oldest message in the outbox",
    "outbox_aside_messages": "messages kept at the edge that can never be delivered",
    "outbox_refusing": "1 while the outbox cannot take messages",
    "camera_up": "1 while frames are coming",
    "camera_paused": "1 while an operator has paused the camera",
    "camera_frames_per_second": "frames a second in which faces were looked for",
    "camera_faces_per_second": "faces found a second, within the last minute",
    "camera_last_face_timestamp_seconds": "when the last face was seen, by the edge's clock",
}


@dataclass(slots=True)
class _Edge:
    health: EdgeHealth
    heard_at: float
    is_off: bool = False
    cameras: set[str] = field(default_factory=set)
    clock: float | None = None


class Edges(Collector):
    """Remembers the last word of each edge.

    An edge may write what it likes, so figures are bounded: by the broker to its own name, and here to 16 cameras,
    those that it named first since this program's start.
    """

    def __init__(self, clocks: Clocks | None = None) -> None:
        self._clocks = clocks or Clocks()
        self._edges: dict[str, _Edge] = {}
        self._forgotten: dict[str, float] = {}
        self._lock = threading.Lock()

    def hear(self, topic: str, payload: bytes, from_before: bool) -> None:
        """An empty message makes it forget an edge that was given up."""
        if not (match := _TOPIC.fullmatch(topic)):
            return
        name = match["edge"]
        with self._lock:
            known = self._edges.get(name)
            if match["health"] is None:
                if known:
                    known.is_off = payload == b"offline"
            elif not payload:
                if self._edges.pop(name, None) and len(self._forgotten) < _MAX_EDGES:
                    self._forgotten[name] = time.monotonic()
            elif (known or len(self._edges) < _MAX_EDGES) and (health := read_health(EdgeHealth, payload)):
                # How old a retained message is, only its own clock tells; the next one is heard within seconds.
                age = max(0.0, time.time() - health.time.timestamp()) if from_before else 0.0
                cameras = known.cameras if known else set()
                cameras |= set(
                    sorted({camera.camera for camera in health.cameras} - cameras)[: MAX_CAMERAS - len(cameras)]
                )
                clocks = {} if from_before else clock_errors(name, health)
                self._edges[name] = _Edge(health, time.monotonic() - age, cameras=cameras, clock=clocks.get(name))
                for whose, error in clocks.items():
                    if whose == name or whose.partition("/")[2] in cameras:
                        self._clocks.hear(whose, error)
                self._forgotten.pop(name, None)

    def collect(self) -> Iterator[Metric]:
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_edge_{name}", text, labels=_labels(name))
            for name, text in _FAMILIES.items()
        }
        with self._lock:
            edges = list(self._edges.items())
            ago = time.monotonic() - _FORGOTTEN_SECONDS
            self._forgotten = {name: at for name, at in self._forgotten.items() if at > ago}
            forgotten = list(self._forgotten)
        for name in forgotten:
            # What follows the last figure for an hour, as EdgeSilent does, sees that there is nothing to wait for.
            families["last_heard_timestamp_seconds"].add_metric([name], math.nan)
        for name, edge in edges:
            for what, camera, value in _figures(edge):
                family = families[what]
                family.add_metric([name, camera][: len(_labels(what))], value)
        yield from families.values()


def _labels(family: str) -> list[str]:
    return ["edge", "camera"] if family.startswith(("outbox", "camera")) else ["edge"]


def _figures(edge: _Edge) -> Iterator[tuple[str, str, float]]:
    """Of one that is silent, only what does not change with time."""
    health, silence = edge.health, time.monotonic() - edge.heard_at
    is_up = not edge.is_off and silence < SILENT_SECONDS
    yield "up", "", is_up
    yield "last_heard_timestamp_seconds", "", time.time() - silence
    if health.certificate_ends is not None:
        yield "certificate_expires_timestamp_seconds", "", health.certificate_ends.timestamp()
    if not is_up:
        return
    if health.link_since is not None:
        yield "link_up_since_timestamp_seconds", "", health.link_since.timestamp()
    if edge.clock is not None:
        yield "clock_error_seconds", "", edge.clock
    yield "broker_up", "", health.edge_broker == "up"
    yield from _of_outbox(health.outbox, "")
    for camera in {each.camera: each for each in health.cameras if each.camera in edge.cameras}.values():
        yield from _of_camera(camera)


def _of_outbox(outbox: OutboxHealth, camera: str) -> Iterator[tuple[str, str, float]]:
    yield "outbox_messages", camera, outbox.messages
    yield "outbox_bytes", camera, outbox.bytes
    yield "outbox_max_bytes", camera, outbox.max_bytes
    yield "outbox_oldest_age_seconds", camera, outbox.oldest_seconds
    yield "outbox_aside_messages", camera, outbox.aside
    yield "outbox_refusing", camera, outbox.refusing


def _of_camera(health: CameraHealth) -> Iterator[tuple[str, str, float]]:
    camera = health.camera
    yield "camera_up", camera, health.state == "up"
    yield "camera_paused", camera, health.state == "paused"
    if health.state in ("off", "silent"):
        return
    yield "camera_frames_per_second", camera, health.frames_per_second
    yield "camera_faces_per_second", camera, health.faces_per_minute / 60
    if health.last_face is not None:
        yield "camera_last_face_timestamp_seconds", camera, health.last_face.timestamp()
    yield from _of_outbox(health.outbox, camera)
