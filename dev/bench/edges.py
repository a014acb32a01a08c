"""Many edges in one process, at a cluster with a store and savers.

Each edge speaks as a forwarder does, with a certificate, an outbox and a session of its own, and waits for receipts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from dev.bench.measure import BenchmarkError, Figures, wait_until
from dev.bench.traffic import PAYLOAD_BYTES
from dev.stack.bundle import Bundle
from dev.stack.cluster import ADDRESSES, NAMES, Cluster
from dev.stack.figures import differences
from dev.stack.pictures import face_event, numbered_picture
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess
from dev.stack.programs import make_program, read_metrics
from dev.stack.s3 import BUCKET, S3Server
from dev.stack.stack import SAVER
from face_messages import BrokerUrl, FaceEvent, Outbox, Sender, Session
from face_messages.message import TOPIC
from object_store.keys import face_key

SAVERS = 3
_NAME = "load"

#: Often, as what is waited for is measured.
wait = partial(wait_until, period=0.02)


class Edge:
    """An outbox, and a session that begins with one node and goes round the others."""

    def __init__(self, number: int, cluster: Cluster, bundle: Bundle, folder: Path) -> None:
        self.id = f"{_NAME}{number}"
        urls = BrokerUrl.parse_all(cluster.mqtt_urls)
        self._first = number % len(urls)
        self._urls = [*urls[self._first :], *urls[: self._first]]
        self._files = bundle.files
        self.outbox = Outbox(folder / f"{self.id}.db", max_bytes=64 * 1024 * 1024)
        self.sender = Sender(self.outbox, client_id=self.id)
        self.session = self._new_session()

    def _new_session(self) -> Session:
        return Session(self._urls, client_id=self.id, endpoint=self.sender, tls=self._files)

    @property
    def node(self) -> int:
        return ADDRESSES.index(self.session.url.host)

    def go_home(self) -> None:
        """Back to the node that it began with, where it is at another one."""
        if self.node != self._first:
            self.session.stop()
            self.session = self._new_session()
            self.session.start()

    def close(self) -> None:
        self.session.stop()
        self.outbox.close()


class Arrivals:
    """Notes when each face is in the bucket for the first time.

    A face whose receipt dies with a node is stored again, half a minute later. That is not how long it took.
    """

    _PERIOD_SECONDS = 0.05

    def __init__(self, bucket: Path) -> None:
        self._bucket = bucket
        self._awaited: dict[str, Path] = {}
        #: When each face was stored, by its id; seconds since 1970.
        self.at: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def expect(self, event: FaceEvent) -> None:
        self._awaited[event.id] = self._bucket / face_key(event)

    def wait(self) -> None:
        wait(lambda: not self._awaited, what="all faces in the bucket")

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._PERIOD_SECONDS):
            for id_, path in list(self._awaited.items()):
                with contextlib.suppress(FileNotFoundError):
                    self.at[id_] = path.stat().st_mtime
                    del self._awaited[id_]


class Site:
    """The cluster, a store, savers and edges, which are not connected yet. Each face is known by its id."""

    def __init__(self, cluster: Cluster, folder: Path, stack: ExitStack, *, edges: int) -> None:
        self.cluster = cluster
        self._folder = folder
        self._stack = stack
        self.s3 = stack.enter_context(S3Server(folder / "s3"))
        self.arrivals = Arrivals(self.s3.folder / BUCKET)
        stack.callback(self.arrivals.close)
        self._ports: dict[ManagedProcess, int] = {}
        self.savers = [self.new_saver() for _ in range(SAVERS)]
        #: The ids of all faces, in their order.
        self.made: list[str] = []
        self._made_at: dict[str, float] = {}
        bundles = cluster.enrol_many(_NAME, edges)
        self.edges = [Edge(number, cluster, bundle, folder) for number, bundle in enumerate(bundles, start=1)]
        stack.callback(self.at_once, Edge.close)
        #: The most memory that any of the nodes, and any of the savers, took, in bytes.
        self.node_peak = self.saver_peak = 0

    def at_once(self, do: Callable[[Edge], None]) -> None:
        """Of all edges: each waits for its session's end."""
        with ThreadPoolExecutor(len(self.edges)) as threads:
            list(threads.map(do, self.edges))

    def new_saver(self) -> ManagedProcess:
        """One that is connected."""
        port = free_port()
        (folder := self._folder / f"saver{port}").mkdir()
        settings = {"AMQP_URL": self.cluster.amqp_urls, "SAVER_ID": str(port), "METRICS_PORT": str(port)}
        saver = self._stack.enter_context(make_program(SAVER, settings | self.s3.settings(), folder))
        saver.wait_ready(lambda: "connected to the broker" in saver.log_text(), timeout=30)
        self._ports[saver] = port
        return saver

    def held(self, saver: ManagedProcess) -> float:
        return read_metrics(self._ports[saver]).get("facedetection_messages_held", 0.0)

    def make(self, edge: Edge) -> None:
        event = face_event(len(self.made), edge.id)
        self.made.append(event.id)
        self._made_at[event.id] = event.time.timestamp()
        self.arrivals.expect(event)
        message = event.to_message(TOPIC, numbered_picture(len(self.made), PAYLOAD_BYTES))
        edge.outbox.put(event.id.encode(), message, lambda: None)

    def flow(self, seconds: float, rate: float) -> None:
        """Faces of one edge after the other."""
        begin = time.monotonic()
        for n in range(round(seconds * rate)):
            time.sleep(max(0.0, begin + n / rate - time.monotonic()))
            self.make(self.edges[len(self.made) % len(self.edges)])

    @contextmanager
    def delays(self, into: list[float]) -> Iterator[None]:
        """Delays of the faces that are made meanwhile, from capture to bucket, once all are there.

        BenchmarkError: one is lost, damaged, or there twice.
        """
        first = len(self.made)
        yield
        # Looking at thousands of files again and again would cost more than the faces do.
        wait_until(lambda: not any(len(edge.outbox) for edge in self.edges), what="all faces confirmed")
        if wrong := differences(self.made, self.s3.objects()):
            raise BenchmarkError("; ".join(wrong))
        self.arrivals.wait()
        into += [self.arrivals.at[id_] - self._made_at[id_] for id_ in self.made[first:]]

    def up(self) -> float:
        """Waits until all edges are connected; the seconds it took."""
        begin = time.monotonic()
        wait(lambda: all(edge.session.is_up for edge in self.edges), what="all edges connected")
        return time.monotonic() - begin

    def note_memory(self) -> None:
        self.node_peak = max(self.node_peak, *(self.cluster.memory(node) for node in range(len(NAMES))))
        self.saver_peak = max(self.saver_peak, *(saver.peak_rss_bytes() for saver in self.savers))

    def spent(self) -> Figures:
        """CPU seconds of all nodes and all savers; faces that edges sent again, and connections that they made."""
        return {
            "nodes": sum(self.cluster.cpu_seconds(node) for node in range(len(NAMES))),
            "savers": sum(saver.cpu_seconds() for saver in self.savers),
            "resent": sum(edge.sender.resent for edge in self.edges),
            "connects": sum(edge.session.connects for edge in self.edges),
        }
