"""The whole path on one machine: two brokers, an S3 server and the three programs, each a real process."""

import contextlib
import http.client
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from dev.stack.mosquitto import Mosquitto
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, ProcessError, listens
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
    each program. With `witness` it also watches the edge broker with `mosquitto_sub`, for `published_ids`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        video_source: str | None = None,
        programs: Collection[str] = PROGRAMS,
        edge_id: str = "demo",
        camera_id: str = "camera",
        settings: Mapping[str, Mapping[str, str]] | None = None,
        witness: bool = False,
    ) -> None:
        self.folder = folder
        self.edge_broker = _broker("edge_mqtt_broker", folder)
        self.cloud_broker = _broker("cloud_mosquitto", folder)
        self.s3 = S3Server(folder)
        self._to_start = frozenset(programs)
        self._metrics_ports = {program: free_port() for program in PROGRAMS}
        self._last_metrics: dict[str, dict[str, float]] = {program: {} for program in PROGRAMS}
        self._lines_read = dict.fromkeys(PROGRAMS, 0)
        of_program: dict[str, dict[str, str]] = {
            DETECTOR: {"EDGE_ID": edge_id, "CAMERA_ID": camera_id, "MQTT_URL": self.edge_broker.url},
            FORWARDER: {
                "EDGE_ID": edge_id,
                "EDGE_MQTT_URL": self.edge_broker.url,
                "CLOUD_MQTT_URL": self.cloud_broker.url,
            },
            SAVER: {"MQTT_URL": self.cloud_broker.url, **self.s3.settings()},
        }
        if video_source is not None:
            of_program[DETECTOR]["VIDEO_SOURCE"] = video_source
        for name in (DETECTOR, FORWARDER):
            of_program[name]["OUTBOX_PATH"] = str(folder / f"{name}.outbox")
        self.programs = {
            name: make_program(
                name,
                {"METRICS_PORT": str(self._metrics_ports[name])} | own | dict((settings or {}).get(name, {})),
                log=folder / f"{name}.log",
            )
            for name, own in of_program.items()
        }
        self.witness = self._make_witness() if witness else None
        #: Further processes, started by others, to be looked after with the rest.
        self.guests: list[ManagedProcess] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    @property
    def processes(self) -> list[ManagedProcess]:
        """All parts, in the order in which they are started."""
        witness = [] if self.witness is None else [self.witness]
        programs = (self.programs[program] for program in (SAVER, FORWARDER, DETECTOR))
        return [self.s3, self.cloud_broker, self.edge_broker, *witness, *programs, *self.guests]

    def start(self) -> None:
        """Raises ProcessError, with the end of the log, for a part that dies or is not ready in time."""
        self.s3.create_bucket()
        self.s3.start()
        self.cloud_broker.start()
        self.edge_broker.start()
        if self.witness is not None:
            self.witness.start()
            self.witness.wait_ready(lambda: "SUBACK" in self._witness_log())
        for program in (SAVER, FORWARDER, DETECTOR):
            if program in self._to_start:
                self.start_program(program)

    def start_program(self, program: str) -> None:
        """Start one of the three. Saver and forwarder are connected to their brokers when this returns."""
        process = self.programs[program]
        process.start()
        # The detector is not waited for: it may be through with a short clip before we ask.
        if program != DETECTOR:
            process.wait_ready(lambda: self._is_connected(program), timeout=30)

    def stop(self) -> None:
        """End all in order, sources first."""
        for process in reversed(self.processes):
            process.terminate()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def metrics(self, program: str) -> dict[str, float]:
        """The program's figures by name, summed over labels; the last known ones when it cannot be asked."""
        port = self._metrics_ports[program]
        if self.programs[program].running and listens(port):
            with contextlib.suppress(OSError, http.client.HTTPException):  # it ended, or stands still
                self._last_metrics[program] = read_metrics(port)
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

    def published_ids(self) -> list[str]:
        """The ids of all messages on the edge broker, resends included; needs `witness`."""
        return [line.removeprefix("id ") for line in self._witness_log().splitlines() if line.startswith("id ")]

    def objects(self) -> dict[str, Path]:
        """All stored objects: key to file."""
        return self.s3.objects()

    def _is_connected(self, program: str) -> bool:
        links = [value for name, value in self.metrics(program).items() if name.endswith("_broker_up")]
        return bool(links) and all(links)

    def _make_witness(self) -> ManagedProcess:
        if shutil.which("mosquitto_sub") is None:
            raise ProcessError("mosquitto_sub is not installed; dev/scripts/need.sh mosquitto installs it")
        where = ["-h", "127.0.0.1", "-p", str(self.edge_broker.port), "-t", "facedetection_topic/#"]
        # stdbuf: it buffers its output until the first message, and `start` waits for its SUBACK.
        args = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-V", "5", "-q", "1", *where, "-F", "id %D"]
        return ManagedProcess("witness", args, log=self.folder / "witness.log")

    def _witness_log(self) -> str:
        return "" if self.witness is None else self.witness.log_text()


def _broker(name: str, folder: Path) -> Mosquitto:
    return Mosquitto(folder / name, name=name, base_config=ROOT / name / "mosquitto.conf")


class Gallery(PythonProcess):
    """`cloud_gallery` for this machine alone, over a running S3 server; its log is in `folder`."""

    def __init__(self, folder: Path, s3: S3Server, *, mqtt_url: str) -> None:
        port = free_port() if listens(_GALLERY_PORT) else _GALLERY_PORT
        self.url = f"http://127.0.0.1:{port}/"
        settings = {"MQTT_URL": mqtt_url, "GALLERY_PORT": str(port), **s3.settings()}
        log = folder / "cloud_gallery.log"
        super().__init__("cloud_gallery", ["cloud_gallery"], settings, log=log, ready=lambda: listens(port))
