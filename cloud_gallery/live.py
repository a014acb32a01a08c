"""What the broker tells: faces as they are stored, and how each edge, camera and saver is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloud_gallery.history import Face, name_of
from face_messages.message import STATUS_TOPIC
from face_messages.service.health import SILENT_SECONDS, EdgeHealth, ProgramHealth, SaverHealth, read_health

STORED_TOPIC = "facedetection_stored"
FILTERS = (f"{STORED_TOPIC}/#", f"{STATUS_TOPIC}/+", f"{STATUS_TOPIC}/+/health")

MAX_VIEWERS = 100
# Often enough for an edge to turn red within 30 s of its last word.
_TICK_SECONDS = 2.0
# More programs than that are no installation, but somebody who makes up names.
_MAX_CLIENTS = 1000
# What waits for a browser that does not read; then it is let go, and asks anew.
_MAX_WAITING = 1000
_MAX_KEY = 1024
_SAVER, _GALLERY = "cloud_saver", "cloud_gallery"


@dataclass(slots=True)
class _Client:
    """What is known of a program at the broker. `heard` is of the monotonic clock."""

    heard: float | None = None
    online: bool | None = None
    health: ProgramHealth | None = None


@dataclass(slots=True)
class Board:
    """The state of all programs that were heard of. Safe to use from many threads."""

    _clients: dict[str, _Client] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Takes note of a status, or of what a program says of its health. An empty one makes it forgotten."""
        _, client_id, *rest = topic.split("/")
        if client_id.startswith(_GALLERY):
            return
        with self._lock:
            if not payload:
                self._clients.pop(client_id, None)
                return
            known = self._clients.get(client_id)
            if known is None and len(self._clients) >= _MAX_CLIENTS:
                return
            client = known or _Client()
            if not rest:
                client.online = payload == b"online"
            elif health := read_health(SaverHealth if client_id.startswith(_SAVER) else EdgeHealth, payload):
                client.health = health
                age = max(0.0, (datetime.now(UTC) - health.time).total_seconds()) if retained else 0.0
                client.heard = time.monotonic() - age
            self._clients[client_id] = client

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """All edges and savers, as JSON.

        `state` is `online`, `offline` or `silent`; `age` is that of its last word, in seconds.
        """
        now = time.monotonic()
        found: dict[str, list[dict[str, Any]]] = {"edges": [], "savers": []}
        with self._lock:
            for name, client in sorted(self._clients.items()):
                age = None if client.heard is None else now - client.heard
                state = "offline" if client.online is False else "online"
                if age is not None and age > SILENT_SECONDS and state == "online":
                    state = "silent"
                about: dict[str, Any] = {"name": name[:128], "state": state, "age": age}
                if client.health is not None:
                    about["health"] = client.health.model_dump(mode="json")
                found["savers" if name.startswith(_SAVER) else "edges"].append(about)
        return found


class Hub:
    """Passes what the broker tells on to all browsers, as server-sent events.

    `heard` may be called from any thread, everything else in the event loop alone.
    """

    def __init__(self, live: Callable[[], int | None]) -> None:
        self.board = Board()
        #: Tells one connection to the broker from the next; None while there is none.
        self.live = live
        #: Told each face; called, in a thread, when there is a connection anew.
        self.on_face: Callable[[Face], None] = lambda _face: None
        self.on_live: Callable[[], None] = lambda: None
        self._queues: set[asyncio.Queue[str]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def viewers(self) -> int:
        return len(self._queues)

    async def run(self) -> None:
        """Tells the health again and again, for as long as it is not cancelled."""
        self._loop = asyncio.get_running_loop()
        before = None
        while True:
            if (live := self.live()) not in (None, before):
                self._loop.run_in_executor(None, self.on_live)
            before = live
            self._tell_health()
            await asyncio.sleep(_TICK_SECONDS)

    def heard(self, topic: str, payload: bytes, retained: bool) -> None:
        """Takes what came from the broker."""
        if topic.partition("/")[0] == STATUS_TOPIC:
            self.board.hear(topic, payload, retained=retained)
            return
        key = payload[:_MAX_KEY].decode(errors="replace")
        if (name := name_of(key)) and self._loop is not None:
            self.on_face(Face(name, key))
            event = _event("face", {"key": key, "name": name})
            # The loop may be gone, when the program ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, event)

    async def events(self) -> AsyncGenerator[str]:
        """What one browser is told, until it is too slow or gone."""
        queue: asyncio.Queue[str] = asyncio.Queue(_MAX_WAITING)
        self._queues.add(queue)
        try:
            yield f"retry: 2000\n\n{self._health()}"
            while queue in self._queues:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def _health(self) -> str:
        return _event("health", self.board.state() | {"live": self.live() is not None})

    def _tell_health(self) -> None:
        if self._queues:
            self._tell(self._health())

    def _tell(self, event: str) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._queues.discard(queue)


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
