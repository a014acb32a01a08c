"""What the broker tells: faces as they are stored, and how each edge, camera and saver is."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from cloud_gallery.faces import Face, name_of
from face_messages.message import STATUS_TOPIC
from face_messages.service.health import (
    CLOCK_SECONDS,
    SILENT_SECONDS,
    EdgeHealth,
    ProgramHealth,
    SaverHealth,
    clock_error,
    clock_errors,
    read_health,
)

MAX_VIEWERS = 100
# Often enough for an edge to turn red within 30 s of its last word.
_TICK_SECONDS = 2.0
# No installation has more programs. Somebody makes up names.
_MAX_CLIENTS = 1000
# Events that wait for a browser. One that does not read them is disconnected, and asks anew.
_MAX_WAITING = 1000
_MAX_KEY = 1024
_SAVER, _GALLERY = "cloud_saver", "cloud_gallery"


@dataclass(slots=True)
class _Client:
    """What is known of a program at the broker.

    By the monotonic clock, `came` is when its last word came, and `said` when it was said: earlier where the broker
    kept the word, by the program's own clock.
    """

    came: float = 0.0
    said: float = 0.0
    is_off: bool = False
    health: ProgramHealth | None = None
    clocks: dict[str, float] = field(default_factory=dict)

    def state(self, now: float) -> str:
        is_silent = self.health is not None and now - self.came > SILENT_SECONDS
        return "offline" if self.is_off else "silent" if is_silent else "online"


class Board:
    """The state of all programs that were heard of. Safe to use from many threads."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}
        # By `edge/camera`: how far its clock is ahead by the time that it stamped on its last face.
        self._stamped: dict[str, float] = {}
        self._lock = threading.Lock()

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Takes a program's status or health. An empty message makes the board forget the program."""
        _, client_id, *rest = topic.split("/")
        if client_id.startswith(_GALLERY):
            return
        with self._lock:
            if not payload:
                self._clients.pop(client_id, None)
                return
            if client_id not in self._clients and len(self._clients) >= _MAX_CLIENTS:
                return
            client = self._clients.setdefault(client_id, _Client())
            if not rest:
                client.is_off = payload != b"online"
            elif health := read_health(SaverHealth if client_id.startswith(_SAVER) else EdgeHealth, payload):
                age = max(0.0, (datetime.now(UTC) - health.time).total_seconds()) if retained else 0.0
                client.health, client.came = health, time.monotonic()
                client.said = client.came - age
                if isinstance(health, EdgeHealth) and not retained:
                    client.clocks = clock_errors(client_id, health)

    def hear_face(self, face: Face) -> None:
        """Takes a face that was stored just now. Late faces are no fault, early ones are a clock's."""
        try:
            captured = datetime.strptime(f"{face.name[:22]}+0000", "%Y%m%dT%H%M%S.%f%z")
        except ValueError:
            return  # it has no time
        camera = "/".join(face.key.split("/")[1:3])
        with self._lock:
            self._stamped.pop(camera, None)
            if (error := clock_error(captured)) > 0 and len(self._stamped) < _MAX_CLIENTS:
                self._stamped[camera] = error

    def state(self) -> dict[str, Any]:
        """All edges and savers, and the errors of clocks that are wrong, by edge or `edge/camera`, as JSON.

        `state` is `online`, `offline` or `silent`; `age` is that of its last word. All in seconds.
        """
        now = time.monotonic()
        edges: list[dict[str, Any]] = []
        savers: list[dict[str, Any]] = []
        told: dict[str, float] = {}
        with self._lock:
            stamped = dict(self._stamped)
            for name, client in sorted(self._clients.items()):
                about: dict[str, Any] = {"name": name[:128], "state": client.state(now), "age": None}
                told |= client.clocks
                if isinstance(client.health, SaverHealth):
                    for each in client.health.cameras:
                        ahead = (each.captured - each.last_stored).total_seconds() if each.captured else 0.0
                        stamped.setdefault(f"{each.edge}/{each.camera}", ahead if ahead > CLOCK_SECONDS else 0.0)
                if client.health is not None:
                    about |= {"age": now - client.said, "health": client.health.model_dump(mode="json")}
                (savers if name.startswith(_SAVER) else edges).append(about)
        clocks = {name: round(error) for name, error in (stamped | told).items() if error}
        return {"edges": edges, "savers": savers, "clocks": clocks}

    def moments(self) -> dict[str, str]:
        """By camera's folder in the bucket, the time that the camera stamped on its last face, as in a key's name."""
        with self._lock:
            known = [client.health for client in self._clients.values() if isinstance(client.health, SaverHealth)]
        cameras = sorted((each for health in known for each in health.cameras), key=attrgetter("last_stored"))
        return {
            f"faces/{each.edge}/{each.camera}/": f"{each.captured.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z"
            for each in cameras
            if each.captured is not None
        }


class Hub:
    """Passes what the broker tells on to all browsers, as server-sent events.

    `heard` may be called from any thread, everything else in the event loop alone.
    """

    def __init__(self, live: Callable[[], int | None]) -> None:
        self.board = Board()
        #: A number for the present connection to the broker; None while there is none.
        self.live = live
        #: Called with each face, and, in a thread, after each new connection.
        self.on_face: Callable[[Face], None] = lambda _face: None
        self.on_live: Callable[[], None] = lambda: None
        self._queues: set[asyncio.Queue[str]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def viewers(self) -> int:
        return len(self._queues)

    async def run(self) -> None:
        """Tells the health again and again, until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        before = None
        while True:
            if (live := self.live()) not in (None, before):
                self._loop.run_in_executor(None, self.on_live)
            before = live
            if self._queues:
                self._tell(_event("health", self.health()))
            await asyncio.sleep(_TICK_SECONDS)

    def heard(self, topic: str, payload: bytes, retained: bool) -> None:
        """Takes a message of the broker's."""
        if topic.partition("/")[0] == STATUS_TOPIC:
            self.board.hear(topic, payload, retained=retained)
            return
        key = payload[:_MAX_KEY].decode(errors="replace")
        if (name := name_of(key)) and self._loop is not None:
            face = Face(name, key)
            self.board.hear_face(face)
            self.on_face(face)
            event = _event("face", {"key": key, "name": name})
            # The loop may be gone, when the program ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, event)

    async def events(self) -> AsyncGenerator[str]:
        """One browser's events, until it is too slow or gone."""
        queue: asyncio.Queue[str] = asyncio.Queue(_MAX_WAITING)
        self._queues.add(queue)
        try:
            yield f"retry: 2000\n\n{_event('health', self.health())}"
            while queue in self._queues:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def health(self) -> dict[str, Any]:
        """As JSON; `live` is whether the broker is there."""
        return {**self.board.state(), "live": self.live() is not None}

    def _tell(self, event: str) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._queues.discard(queue)


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
