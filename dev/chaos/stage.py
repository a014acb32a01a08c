"""The parts on stage: real processes, with a link that can be cut between each two that talk."""

import itertools
import threading
from collections import Counter
from pathlib import Path

from dev.chaos.faults import Kind
from dev.stack.mosquitto import Mosquitto
from dev.stack.pictures import PictureReader
from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.producer import Producer
from dev.stack.programs import PythonProcess, make_program
from dev.stack.proxy import Proxy, Watch
from dev.stack.s3 import S3Server
from dev.stack.stack import FORWARDER, SAVER

# So small that a long outage fills an outbox, and the part before it has to cope.
_OUTBOX_BYTES = 32 * 1024 * 1024
_NUMBERS_AN_EDGE = 1_000_000_000


class Link(Proxy):
    """A proxy that counts the pictures that got through, by their numbers."""

    def __init__(self, target: int) -> None:
        super().__init__(target, self._counting)
        self.passed: Counter[int | None] = Counter()
        self._lock = threading.Lock()
        self.__enter__()

    def _counting(self) -> Watch:
        # A cut leaves a picture unfinished: each connection has a reader of its own.
        reader = PictureReader()

        def count(data: bytes) -> None:
            with self._lock:
                self.passed.update(reader.read(data))

        return count


class Stage:
    """The path as it is deployed; or, with `plain`, a usual QoS 1 chain with one saver, for comparison.

    Outboxes, bucket and logs are in `folder`. The `edges` make `rate` pictures a second together, of `size` bytes;
    several `savers` are a group.
    """

    def __init__(
        self, folder: Path, *, rate: float, size: int, savers: int = 1, edges: int = 1, plain: bool = False
    ) -> None:
        self.folder = folder
        self._plain = plain
        cloud_broker = self._broker("cloud broker")
        self.s3 = S3Server(folder / "s3", name="S3 server")
        saver_names = ["saver"] if savers == 1 else [f"saver {i + 1}" for i in range(savers)]
        #: The members of the group of savers, where there is one.
        self.members = saver_names if savers > 1 else []
        #: The nodes of a cluster, where there is one.
        self.nodes: list[str] = []
        self._ids = itertools.count(1)
        self.links = {
            "forwarder-cloud": Link(cloud_broker.port),
            **{f"cloud-{name}": Link(cloud_broker.port) for name in saver_names},
            "saver-S3": Link(self.s3.port),
        }
        #: All parts, in the order in which they are started.
        self.processes: dict[str, ManagedProcess] = {process.name: process for process in (self.s3, cloud_broker)}
        self.processes |= {name: self._saver(name) for name in saver_names}
        #: By the edge's number, which is behind the names of its parts where there are several.
        self.producers: dict[str, Producer] = {}
        for number in range(1, edges + 1):
            self._add_edge(number, f" {number}" if edges > 1 else "", rate=rate / edges, size=size)
        self._down: set[str] = set()
        #: The most memory each kind of part had at any time, in bytes.
        self.peaks: dict[str, int] = {}

    def _add_edge(self, number: int, of: str, *, rate: float, size: int) -> None:
        """A producer, a broker and a forwarder, and the links between them."""
        broker, folder = self._broker(f"edge broker{of}"), self.folder / f"edge{of.strip()}"
        folder.mkdir(parents=True, exist_ok=True)
        incoming, outgoing = Link(broker.port), Link(broker.port)
        self.links |= {f"producer-edge{of}": incoming, f"edge-forwarder{of}": outgoing}
        producer = self.producers[of] = Producer(
            incoming.url,
            folder,
            name=f"producer{of}",
            edge_id=f"edge{number}",
            first=number * _NUMBERS_AN_EDGE,
            rate=rate,
            size=size,
            at_once=1,
            outbox_max_bytes=_OUTBOX_BYTES,
            module=["dev.chaos.plain_chain", "produce"] if self._plain else ["dev.stack.producer"],
        )
        settings = {
            "EDGE_ID": f"edge{number}",
            "EDGE_MQTT_URL": outgoing.url,
            "OUTBOX_PATH": str(folder / "forwarder.db"),
            "OUTBOX_MAX_BYTES": str(_OUTBOX_BYTES),
        }
        forwarder = self._program(FORWARDER, f"forwarder{of}", "forward", settings | self._forwarder_settings(number))
        self.processes |= {part.name: part for part in (broker, forwarder, producer)}

    def _broker(self, name: str) -> Mosquitto:
        folder = self.folder / name.replace(" ", "_")
        # Ours keep nothing; the brokers of the plain chain save their queues, as its builders would set them.
        persistence = ["persistence true", "autosave_interval 1", f"persistence_location {folder}/"]
        return Mosquitto(folder, name=name, config_lines=persistence if self._plain else [])

    def _saver(self, name: str) -> ManagedProcess:
        group = {"SAVER_ID": f"{next(self._ids)}"} if self.members else {}
        store = self.s3.settings(port=self.links["saver-S3"].port)
        return self._program(SAVER, name, "save", {**store, **group, **self._saver_settings(name)})

    def _forwarder_settings(self, number: int) -> dict[str, str]:
        del number
        return {"CLOUD_MQTT_URL": self.links["forwarder-cloud"].url}

    def _saver_settings(self, name: str) -> dict[str, str]:
        return {"MQTT_URL": self.links[f"cloud-{name}"].url} | ({"SAVER_GROUP": "savers"} if self.members else {})

    def _program(self, program: str, name: str, plain: str, settings: dict[str, str]) -> ManagedProcess:
        if self._plain:
            log = self.folder / f"{name}.log"
            return PythonProcess(name, ["dev.chaos.plain_chain", plain], settings, log=log)
        return make_program(program, settings, self.folder, called=name)

    def start(self) -> None:
        for process in self.processes.values():
            process.start()

    def numbers(self) -> set[int]:
        """The pictures that outboxes have confirmed to hold."""
        return set().union(*(producer.numbers() for producer in self.producers.values()))

    @property
    def sent(self) -> int:
        """Faces that forwarders have sent, each try counted, where no link tells."""
        return 0

    def note(self) -> None:
        """How much memory each part takes."""
        for name, process in self.processes.items():
            # Of several of a kind, the highest.
            role = name.rstrip(" 0123456789")
            self.peaks[role] = max(self.peaks.get(role, 0), process.peak_rss_bytes())

    def inflict(self, kind: Kind, name: str) -> None:
        """Raises ProcessError when the part has ended by itself, which no fault is a reason for."""
        if name in self.links:
            link = self.links[name]
            # The other kind ends first: to a cluster's links both are the same.
            link.refuse = link.swallow = False
            if kind is Kind.REFUSE:
                link.refuse = True
            else:
                link.swallow = True
            return
        self.note()
        if kind is not Kind.PAUSE:
            self._check(name)
            self.processes[name].kill()
            self._down.add(name)
            if kind is Kind.LEAVE:
                # It leaves its group for good; another one joins in its place when it is mended.
                self.processes[name] = self._saver(name)
        elif name not in self._down:
            self._check(name)
            self.processes[name].pause()

    def mend(self, name: str) -> None:
        """The part is well afterwards, whatever happened to it."""
        if name in self.links:
            self.links[name].refuse = self.links[name].swallow = False
        elif name in self._down:
            self._down.remove(name)
            self.processes[name].start()
        else:
            self._check(name)
            self.processes[name].resume()

    def _check(self, name: str) -> None:
        if name not in self._down and not self.processes[name].running:
            raise ProcessError(self.processes[name].describe_end())

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for link in self.links.values():
            link.__exit__()
