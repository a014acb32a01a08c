"""How the edges are, as figures for Prometheus, which cannot reach them behind their NAT."""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud_saver.clocks import Clocks
from face_messages.message import STATUS_TOPIC
from face_messages.service.health import MAX_CAMERAS, SILENT_SECONDS, EdgeHealth, clock_errors, read_health
from face_messages.service.monitor import PREFIX

# Names that begin with cloud_ belong to programs in the cloud.
_TOPIC = re.compile(STATUS_TOPIC + r"/(?P<edge>(?!cloud_)[A-Za-z0-9][A-Za-z0-9._-]{0,62})(?P<health>/health)?")
# As many as may connect at a time.
_MAX_EDGES = 500
# Long enough for Prometheus to see, in seconds.
_FORGOTTEN_SECONDS = 300.0


@dataclass(slots=True)
class _Edge:
    health: EdgeHealth
    heard_at: float
    is_off: bool = False
    cameras: set[str] = field(default_factory=set)
    clock: float | None = None

    @property
    def silence(self) -> float:
        return time.monotonic() - self.heard_at

    @property
    def is_up(self) -> bool:
        return not self.is_off and self.silence < SILENT_SECONDS


# Name, text, and what to read the figure from; None: there is no figure.
_Figures = tuple[tuple[str, str, Callable[[Any], Any]], ...]
_OF_EDGE: _Figures = (
    ("up", "1 while the edge's forwarder is connected and heard of", lambda e: e.is_up),
    ("last_heard_timestamp_seconds", "when the edge was last heard of", lambda e: time.time() - e.silence),
    ("clock_error_seconds", "how far its clock is ahead, negative: behind; 0 within a minute", lambda e: e.clock),
    ("certificate_expires_timestamp_seconds", "when the edge's certificate ends", lambda e: e.health.certificate_ends),
)
# These change with time: they are shown while the edge is up.
_OF_LIVE_EDGE: _Figures = (
    ("link_up_since_timestamp_seconds", "since when the edge is connected to the cloud broker", lambda h: h.link_since),
    ("broker_up", "1 while the edge's forwarder is connected to the edge broker", lambda h: h.edge_broker == "up"),
)
_OF_OUTBOX: _Figures = (
    ("outbox_messages", "messages on the disk of the detector (with a camera) or the forwarder", lambda o: o.messages),
    ("outbox_bytes", "bytes on the edge's disk that messages take up", lambda o: o.bytes),
    ("outbox_max_bytes", "bytes that the outbox may take up", lambda o: o.max_bytes),
    ("outbox_oldest_age_seconds", "age of the oldest message in the outbox", lambda o: o.oldest_seconds),
    ("outbox_aside_messages", "messages kept at the edge that can never be delivered", lambda o: o.aside),
    ("outbox_refusing", "1 while the outbox cannot take messages", lambda o: o.refusing),
)
_OF_CAMERA: _Figures = (
    ("camera_up", "1 while frames are coming", lambda c: c.state == "up"),
    ("camera_paused", "1 while an operator has paused the camera", lambda c: c.state == "paused"),
)
_OF_LIVE_CAMERA: _Figures = (
    ("camera_frames_per_second", "frames a second in which faces were looked for", lambda c: c.frames_per_second),
    ("camera_faces_per_second", "faces found a second, in the last minute", lambda c: c.faces_per_minute / 60),
    ("camera_last_face_timestamp_seconds", "when the last face was seen, by the edge's clock", lambda c: c.last_face),
)


class Edges(Collector):
    """Remembers the last word of each edge.

    An edge may write what it likes, so figures are bounded: the broker bounds it to its own name, and this class to
    the 16 cameras that it named first since this program's start.
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
                new = sorted({camera.camera for camera in health.cameras} - cameras)
                cameras |= set(new[: MAX_CAMERAS - len(cameras)])
                clocks = {} if from_before else clock_errors(name, health)
                self._edges[name] = _Edge(health, time.monotonic() - age, cameras=cameras, clock=clocks.get(name))
                for whose, error in clocks.items():
                    if whose == name or whose.partition("/")[2] in cameras:
                        self._clocks.hear(whose, error)
                self._forgotten.pop(name, None)

    def collect(self) -> Iterator[Metric]:
        of_cameras = (*_OF_OUTBOX, *_OF_CAMERA, *_OF_LIVE_CAMERA)
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_edge_{name}", text, labels=labels)
            for figures, labels in (((*_OF_EDGE, *_OF_LIVE_EDGE), ["edge"]), (of_cameras, ["edge", "camera"]))
            for name, text, _ in figures
        }

        def add(figures: _Figures, of: object, *labels: str) -> None:
            for name, _, read in figures:
                if (value := read(of)) is not None:
                    number = value.timestamp() if isinstance(value, datetime) else value
                    families[name].add_metric(labels, number)

        with self._lock:
            edges = list(self._edges.items())
            ago = time.monotonic() - _FORGOTTEN_SECONDS
            self._forgotten = {name: at for name, at in self._forgotten.items() if at > ago}
            forgotten = list(self._forgotten)
        for name in forgotten:
            # An alert that looks an hour back, as EdgeSilent does, sees that there is nothing to wait for.
            families["last_heard_timestamp_seconds"].add_metric([name], math.nan)
        for name, edge in edges:
            add(_OF_EDGE, edge, name)
            if not edge.is_up:
                continue
            add(_OF_LIVE_EDGE, edge.health, name)
            add(_OF_OUTBOX, edge.health.outbox, name, "")
            for camera in {each.camera: each for each in edge.health.cameras if each.camera in edge.cameras}.values():
                add(_OF_CAMERA, camera, name, camera.camera)
                if camera.state not in ("off", "silent"):
                    add(_OF_LIVE_CAMERA, camera, name, camera.camera)
                    add(_OF_OUTBOX, camera.outbox, name, camera.camera)
        yield from families.values()
