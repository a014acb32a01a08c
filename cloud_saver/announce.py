"""What the saver tells of its work: each object as it is stored, and its health."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from face_messages.message import STORED_TOPIC
from face_messages.mqtt.endpoint import Endpoint
from face_messages.service.health import MAX_STORED_CAMERAS, LastStored, Latency, Rate, SaverHealth, StoreHealth
from object_store.keys import StoredObject

# Latencies that are remembered.
_LATENCIES = 2000
_MINUTE = 60.0
# Announcements that wait for the socket, in messages and bytes. More are dropped; listeners then list the bucket.
_NEWS = 1000
_UNSENT = 64 * 1024


class Lately:
    """Looks back on the last minute. `trouble` tells why the store takes nothing, or None."""

    def __init__(self, trouble: Callable[[], Exception | None]) -> None:
        self._trouble = trouble
        self._store = StoreHealth(state="ok", why=None, since=datetime.now(UTC))
        self._lock = threading.Lock()
        self._stored = 0
        self._rate = Rate(_MINUTE)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_LATENCIES)
        # By edge and camera: when its last face was stored, and what the camera's clock said at its capture.
        self._last: OrderedDict[tuple[str, ...], tuple[datetime, datetime]] = OrderedDict()

    def stored(self, stored: StoredObject, latency: float | None) -> None:
        """Called in the workers' threads."""
        with self._lock:
            self._stored += 1
            if latency is not None:
                self._latencies.append((time.monotonic(), latency))
            if stored.captured_at is not None:
                self._last[camera_of(stored)] = datetime.now(UTC), stored.captured_at
                self._last.move_to_end(camera_of(stored))
                if len(self._last) > MAX_STORED_CAMERAS:
                    self._last.popitem(last=False)

    def health(self) -> SaverHealth:
        trouble = self._trouble()
        state: Literal["ok", "refusing"] = "ok" if trouble is None else "refusing"
        since = self._store.since if state == self._store.state else datetime.now(UTC)
        self._store = StoreHealth(state=state, why=None if trouble is None else str(trouble), since=since)
        with self._lock:
            recent = sorted(latency for at, latency in self._latencies if at > time.monotonic() - _MINUTE)
            last = list(self._last.items())
        return SaverHealth(
            stored_last_minute=round(_MINUTE * self._rate.per_second(self._stored)),
            latency=Latency(p50=_share(recent, 0.5), p95=_share(recent, 0.95)) if recent else None,
            store=self._store,
            cameras=[
                LastStored(edge=edge, camera=camera, last_stored=at, captured=captured)
                for (edge, camera), (at, captured) in last
            ],
        )


class News(Endpoint):
    """Tells each object's key, once it is stored, to whoever listens."""

    def __init__(self) -> None:
        self._news: deque[tuple[str, str]] = deque(maxlen=_NEWS)

    def stored(self, stored: StoredObject) -> None:
        """Called in the workers' threads, before the connection is woken for the receipt."""
        topic = STORED_TOPIC if stored.captured_at is None else "/".join((STORED_TOPIC, *camera_of(stored)))
        self._news.append((topic, stored.key))

    def work(self, now: float) -> None:
        del now  # nothing waits for its time
        while self._news:
            topic, key = self._news.popleft()
            if self.link is not None and self.link.unsent < _UNSENT:
                self.link.tell(topic, key.encode())

    def finish(self) -> None:
        self.work(0)


def camera_of(stored: StoredObject) -> tuple[str, ...]:
    """Edge and camera as they stand in a face's key, which makes them safe in a topic as well."""
    return tuple(stored.key.split("/")[1:3])


def _share(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
