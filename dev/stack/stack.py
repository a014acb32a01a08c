"""The whole path on one machine: two brokers, an S3 server and the three programs, each a real process."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from dev.stack.mosquitto import Mosquitto
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens
from dev.stack.programs import ROOT, PythonProcess, make_program, read_metrics
from dev.stack.s3 import S3Server

DETECTOR = "edge_face_detection"
FORWARDER = "edge_forwarder"
SAVER = "cloud_saver"
PROGRAMS = (DETECTOR, FORWARDER, SAVER)

# The gallery's port, which people know; another one where it is taken.
_GALLERY_PORT = 8080
_STOPPED_FIGURE = re.compile(r"\b(frames|skipped|faces|confirmed)\"?\s*[=:]\s*(\d+)")
_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")


class LocalStack:
    """Starts the parts, the end of the path first, and ends them all. Outboxes, bucket and logs are in `folder`.

    It starts these `programs`; call `start_program` for the others. `settings` are further environment variables of
    each program.
    """

    def __init__(
        self,
        folder: Path,
        *,
        programs: Collection[str] = PROGRAMS,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.folder = folder
        self.edge_broker, self.cloud_broker = (
            Mosquitto(folder / name, name=name, base_config=ROOT / name / "mosquitto.conf")
            for name in ("edge_mqtt_broker", "cloud_mosquitto")
        )
        self.s3 = S3Server(folder)
        self._to_start = frozenset(programs)
        self._metrics_ports: dict[str, int] = {}
        self._last_metrics: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._lines_read: Counter[str] = Counter()
        edge, cloud = self.edge_broker.url, self.cloud_broker.url
        self._settings = {
            SAVER: {"MQTT_URL": cloud, **self.s3.settings()},
            FORWARDER: {"EDGE_ID": "demo", "EDGE_MQTT_URL": edge, "CLOUD_MQTT_URL": cloud},
            DETECTOR: {"EDGE_ID": "demo", "CAMERA_ID": "camera", "MQTT_URL": edge},
        }
        #: Both in the order in which they are started: the programs, and all parts.
        self.programs: dict[str, ManagedProcess] = {}
        self.processes: list[ManagedProcess] = [self.s3, self.cloud_broker, self.edge_broker]
        for program in self._settings:
            self.add_program(program, (settings or {}).get(program, {}))

    def add_program(self, program: str, settings: Mapping[str, str], *, called: str = "") -> ManagedProcess:
        """One more of the three, as a further camera: with these settings, under a name of its own; not started."""
        name = called or program
        self._metrics_ports[name] = free_port()
        own = {**self._settings[program], "METRICS_PORT": str(self._metrics_ports[name])}
        if program != SAVER:
            own["OUTBOX_PATH"] = str(self.folder / f"{name}.outbox")
        self.programs[name] = made = make_program(program, {**own, **settings}, self.folder, called=name)
        self.processes.append(made)
        return made

    def __enter__(self) -> Self:
        """Raises ProcessError, with the end of the log, for a part that dies or is not ready in time."""
        try:
            self.s3.start()
            self.cloud_broker.start()
            self.edge_broker.start()
            for program in self.programs:
                if program in self._to_start:
                    self.start_program(program)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End all in order, sources first; after an error at once."""
        for process in reversed(self.processes):
            (process.kill if kind else process.terminate)()

    def start_program(self, program: str) -> None:
        """Start one of the three. Saver and forwarder are connected to their brokers when this returns."""
        process = self.programs[program]
        process.start()
        # The detector is not waited for: it may be through with a short clip before we ask.
        if program != DETECTOR:
            process.wait_ready(lambda: self._is_connected(program), timeout=30)

    def metrics(self, program: str) -> dict[str, float]:
        """The program's figures by name, summed over labels; the last known ones when it cannot be asked."""
        self._last_metrics[program] = read_metrics(self._metrics_ports[program]) or self._last_metrics[program]
        return self._last_metrics[program]

    def stop_figures(self) -> dict[str, int]:
        """`frames`, `skipped`, `faces` and `confirmed` of the detector's last line; empty where there is none."""
        lines = [line for line in self.programs[DETECTOR].log_text().splitlines() if "stopped" in line]
        found = [dict(_STOPPED_FIGURE.findall(line)) for line in lines]
        return {name: int(figure) for name, figure in next(filter(None, reversed(found)), {}).items()}

    def new_complaints(self) -> list[str]:
        """Warnings and errors that the programs have logged since the last call."""
        found = []
        for program, process in self.programs.items():
            lines = process.log_text().splitlines()
            new = lines[self._lines_read[program] :]
            self._lines_read[program] = len(lines)
            found += [f"{program}: {line}" for line in new if _COMPLAINT.search(line)]
        return found

    def _is_connected(self, program: str) -> bool:
        links = [value for name, value in self.metrics(program).items() if name.endswith("_broker_up")]
        return bool(links) and all(links)


class Gallery(PythonProcess):
    """`cloud_gallery` for this machine alone, over a running S3 server; its log is in `folder`."""

    def __init__(self, folder: Path, s3: S3Server, *, mqtt_url: str) -> None:
        port = free_port() if listens(_GALLERY_PORT) else _GALLERY_PORT
        self.url = f"http://127.0.0.1:{port}/"
        settings = {"MQTT_URL": mqtt_url, "GALLERY_PORT": str(port), **s3.settings()}
        log = folder / "cloud_gallery.log"
        super().__init__("cloud_gallery", ["cloud_gallery"], settings, log=log, ready=lambda: listens(port))
