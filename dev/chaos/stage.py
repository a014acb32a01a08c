"""The parts on stage: real processes, with a link that can be cut between each two that talk."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dev.chaos.links import Link, Links
from dev.chaos.watch import pictures, puts
from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.programs import make_program
from dev.stack.s3 import S3Server
from dev.stack.stack import PROGRAMS

BUCKET = "faces"
# So small that a long outage fills them, and what is in front of a full outbox has its part as well.
_OUTBOX = {"OUTBOX_MAX_BYTES": str(32 * 1024 * 1024)}


class Stage:
    """Custody as it is deployed; or, with `plain`, the QoS 1 chain that everyone builds, for comparison.

    Args:
        folder: holds outboxes, bucket and logs.
        rate: pictures a second.
        size: bytes of a picture.
        savers: how many; several are a group.
        plain: run the plain QoS 1 chain instead; it has one saver.

    """

    def __init__(self, folder: Path, *, rate: float, size: int, savers: int = 1, plain: bool = False) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.stop_file = folder / "stop"
        self._plain = plain
        edge_broker, cloud_broker = self._broker("edge broker"), self._broker("cloud broker")
        self.s3 = S3Server(folder / "s3", name="S3 server")
        self.s3.create_bucket(BUCKET)
        saver_names = ["saver"] if savers == 1 else [f"saver {i + 1}" for i in range(savers)]
        #: The members of the group of savers, where there is one.
        self.members = saver_names if savers > 1 else []
        self._ids = itertools.count(1)
        self._links_thread = Links()
        open_link = self._links_thread.open
        self.links: dict[str, Link] = {
            "producer-edge": open_link(edge_broker.port, pictures),
            "edge-forwarder": open_link(edge_broker.port),
            "forwarder-cloud": open_link(cloud_broker.port, pictures),
            **{f"cloud-{name}": open_link(cloud_broker.port) for name in saver_names},
            "saver-S3": open_link(self.s3.port, puts),
        }
        self.producer = self._process(
            "producer",
            ["dev.chaos.plain_chain", "produce"] if plain else ["dev.chaos.producer"],
            {
                "MQTT_URL": self._url("producer-edge"),
                "OUTBOX_PATH": str(folder / "producer.db"),
                "JOURNAL": str(self.journal),
                "STOP_FILE": str(self.stop_file),
                "RATE": str(rate),
                "SIZE": str(size),
                **_OUTBOX,
            },
        )
        forwarder = self._process(
            "forwarder",
            ["dev.chaos.plain_chain", "forward"] if plain else ["edge_forwarder"],
            {
                "EDGE_ID": "chaos",
                "EDGE_MQTT_URL": self._url("edge-forwarder"),
                "CLOUD_MQTT_URL": self._url("forwarder-cloud"),
                "OUTBOX_PATH": str(folder / "forwarder.db"),
                **_OUTBOX,
            },
        )
        servers: list[ManagedProcess] = [self.s3, cloud_broker, edge_broker]
        #: All parts, in the order in which they are started.
        self.processes = {process.name: process for process in servers}
        self.processes |= {name: self._saver(name) for name in saver_names}
        self.processes |= {process.name: process for process in (forwarder, self.producer)}
        self._down: set[str] = set()
        #: The most memory each had at any time, in bytes; of the savers, the one that had most.
        self.peaks: dict[str, int] = {}

    def _broker(self, name: str) -> Mosquitto:
        folder = self.folder / name.replace(" ", "_")
        # Custody's keep nothing; those of the plain chain get what its builders would turn on.
        persistence = ["persistence true", "autosave_interval 1", f"persistence_location {folder}/"]
        return Mosquitto(folder, name=name, config_lines=persistence if self._plain else [])

    def _saver(self, name: str) -> ManagedProcess:
        group = {"SAVER_GROUP": "savers", "SAVER_ID": f"{next(self._ids)}"} if self.members else {}
        return self._process(
            name,
            ["dev.chaos.plain_chain", "save"] if self._plain else ["cloud_saver"],
            {
                **group,
                "MQTT_URL": self._url(f"cloud-{name}"),
                "COS_ENDPOINT": f"http://127.0.0.1:{self.links['saver-S3'].port}",
                "COS_BUCKET": BUCKET,
                "COS_HMAC_ACCESS_KEY_ID": self.s3.access_key_id,
                "COS_HMAC_SECRET_ACCESS_KEY": self.s3.secret_access_key,
            },
        )

    def _url(self, link: str) -> str:
        return f"mqtt://127.0.0.1:{self.links[link].port}"

    def _process(self, name: str, module: list[str], settings: dict[str, str]) -> ManagedProcess:
        log = self.folder / f"{name}.log"
        if len(module) == 1 and module[0] in PROGRAMS:
            return make_program(module[0], settings, log=log, called=name)
        root = str(Path(__file__).parents[2])
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": root, **settings}
        return ManagedProcess(name, [sys.executable, "-m", *module], log=log, env=environment)

    def start(self) -> None:
        for process in self.processes.values():
            process.start()

    def note_memory(self) -> None:
        for name, process in self.processes.items():
            role = "saver" if name in self.members else name
            self.peaks[role] = max(self.peaks.get(role, 0), process.peak_rss_bytes())

    def kill(self, name: str) -> None:
        self.note_memory()
        self._check(name)
        self.processes[name].kill()
        self._down.add(name)

    def replace(self, name: str) -> None:
        """A saver leaves its group without a word and for good; when it is mended, another one joins in its place."""
        self.kill(name)
        self.processes[name] = self._saver(name)

    def pause(self, name: str) -> None:
        if name not in self._down:
            self._check(name)
            self.processes[name].pause()

    def cut(self, name: str, *, refuse: bool = False, swallow: bool = False) -> None:
        self._links_thread.set(self.links[name], refuse=refuse, swallow=swallow)

    def mend(self, name: str) -> None:
        """Whatever happened to this part, it is well afterwards."""
        if name in self.links:
            self.cut(name)
        elif name in self._down:
            self._down.remove(name)
            self.processes[name].start()
        else:
            self._check(name)
            self.processes[name].resume()

    def _check(self, name: str) -> None:
        """Raises ProcessError where it has ended by itself, which nothing that is done here is a reason for."""
        if name not in self._down and not self.processes[name].running:
            raise ProcessError(self.processes[name].describe_end())

    def run_dry(self, *, is_dry: Callable[[], bool], timeout: float) -> float:
        """Ends production and waits until all is delivered; the seconds it took, infinite where it does not come."""
        self.stop_file.touch()
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < timeout:
            self.note_memory()
            if is_dry():
                return seconds
            time.sleep(0.05)
        return math.inf

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        self._links_thread.close()
