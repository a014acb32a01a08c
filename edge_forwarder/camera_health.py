"""How the cameras of this edge are, as their detectors say at the edge broker."""

import re
import threading
import time
from dataclasses import dataclass

from face_messages.message import STATUS_TOPIC
from face_messages.service.health import MAX_CAMERAS, SILENT_SECONDS, CameraHealth, read_health


@dataclass(slots=True)
class _Heard:
    health: CameraHealth
    at: float
    is_off: bool = False


class Cameras:
    """Remembers the last word of each, of 16 at most: a new one takes the place of one that is silent."""

    def __init__(self, edge_id: str) -> None:
        self._topic = re.compile(rf"{STATUS_TOPIC}/{re.escape(edge_id)}:(?P<camera>[^/]+)(?P<health>/health)?")
        self._heard: dict[str, _Heard] = {}
        self._lock = threading.Lock()

    def hear(self, topic: str, payload: bytes, _from_before: bool) -> None:
        """An empty message makes it forget a camera that was given up."""
        if not (match := self._topic.fullmatch(topic)):
            return
        camera = match["camera"]
        with self._lock:
            if match["health"] is None:
                if known := self._heard.get(camera):
                    known.is_off = payload == b"offline"
            elif not payload:
                self._heard.pop(camera, None)
            elif (health := read_health(CameraHealth, payload)) and health.camera == camera and self._has_room(camera):
                self._heard[camera] = _Heard(health, time.monotonic())

    def _has_room(self, camera: str) -> bool:
        if camera in self._heard or len(self._heard) < MAX_CAMERAS:
            return True
        oldest = min(self._heard, key=lambda name: self._heard[name].at)
        if time.monotonic() - self._heard[oldest].at < SILENT_SECONDS:
            return False
        del self._heard[oldest]
        return True

    def present(self) -> list[CameraHealth]:
        """By name, with what is the matter now."""
        with self._lock:
            return [_now(self._heard[camera]) for camera in sorted(self._heard)]


def _now(heard: _Heard) -> CameraHealth:
    if not heard.is_off and time.monotonic() - heard.at < SILENT_SECONDS:
        return heard.health
    state = "off" if heard.is_off else "silent"
    return heard.health.model_copy(update={"state": state, "frames_per_second": 0.0, "faces_per_minute": 0.0})
