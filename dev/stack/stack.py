"""The whole path on one machine: two brokers, an S3 server and the three programs, each a real process."""

from __future__ import annotations

import http.client
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prometheus_client.parser import text_string_to_metric_families

from dev.stack.mosquitto import Mosquitto
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, ProcessError, listens
from dev.stack.programs import make_program
from dev.stack.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

DETECTOR = "edge_face_detection"
FORWARDER = "edge_forwarder"
SAVER = "cloud_saver"
PROGRAMS = (DETECTOR, FORWARDER, SAVER)

TOPIC = "facedetection_topic"
BUCKET = "faces"

_ROOT = Path(__file__).parents[2]
_STOPPED_FIGURE = re.compile(r"\b(frames|skipped|faces|confirmed)\"?\s*[=:]\s*(\d+)")
_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")


class LocalStack:
    """Starts the parts in the order of the path's end first, and ends them all.

    Args:
        folder: holds the outboxes, the bucket and the logs.
        video_source: `VIDEO_SOURCE` of the detector; may be left out where the detector is not started.
        programs: which of the three programs to start. The others can be started later, by `start_program`.
        settings: further environment variables for each program, over those that this class sets.
        witness: also watch the edge broker with `mosquitto_sub`, for `published_ids`.

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
        self.edge_id = edge_id
        self.camera_id = camera_id
        self.edge_broker = _broker("edge_mqtt_broker", folder)
        self.cloud_broker = _broker("cloud_mosquitto", folder)
        self.s3 = S3Server(folder)
        self._to_start = frozenset(programs)
        self._metrics_ports = {program: free_port() for program in PROGRAMS}
        self._last_metrics: dict[str, dict[str, float]] = {program: {} for program in PROGRAMS}
        self._lines_read = dict.fromkeys(PROGRAMS, 0)
        self.programs = {
            name: make_program(
                name,
                self._environment(name, video_source) | dict((settings or {}).get(name, {})),
                log=folder / f"{name}.log",
            )
            for name in PROGRAMS
        }
        self.witness = self._make_witness() if witness else None
        #: Processes of others, which are started already, to be looked after with the rest.
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
        servers: list[ManagedProcess] = [self.s3, self.cloud_broker, self.edge_broker]
        if self.witness is not None:
            servers.append(self.witness)
        return [*servers, *(self.programs[program] for program in (SAVER, FORWARDER, DETECTOR)), *self.guests]

    def start(self) -> None:
        """Raises:
        ProcessError: a part died, or was not ready in time; the message holds the end of its log.

        """
        self.s3.create_bucket(BUCKET)
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
        """Start one of the three; saver and forwarder are connected to their brokers when this returns."""
        process = self.programs[program]
        process.start()
        # The detector is not waited for: it may be through with a short clip before it was asked.
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
        """The program's figures by name, summed over labels; the last known ones when it can no longer be asked."""
        port = self._metrics_ports[program]
        if self.programs[program].running and listens(port):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/metrics")
                text = connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                # It ended, or stands still, while it was asked.
                return self._last_metrics[program]
            finally:
                connection.close()
            figures: Counter[str] = Counter()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    figures[sample.name] += sample.value  # type: ignore[assignment] # a Counter of floats adds up too
            self._last_metrics[program] = dict(figures)
        return self._last_metrics[program]

    def stop_figures(self) -> dict[str, int]:
        """`frames`, `skipped`, `faces` and `confirmed` as the detector's log tells them at its end; else empty."""
        lines = [line for line in self.programs[DETECTOR].log_text().splitlines() if "stopped" in line]
        found = [dict(_STOPPED_FIGURE.findall(line)) for line in lines]
        return {name: int(figure) for name, figure in next(filter(None, reversed(found)), {}).items()}

    def new_complaints(self) -> list[str]:
        """Warnings and errors that the programs have logged since this was last asked."""
        found = []
        for program, process in self.programs.items():
            lines = process.log_text().splitlines()
            new = lines[self._lines_read[program] :]
            self._lines_read[program] = len(lines)
            found += [f"{program}: {line}" for line in new if _COMPLAINT.search(line)]
        return found

    def published_ids(self) -> list[str]:
        """The ids of what was published on the edge broker, resends included; needs `witness`."""
        return [line.removeprefix("id ") for line in self._witness_log().splitlines() if line.startswith("id ")]

    def objects(self) -> dict[str, Path]:
        """What is stored: object key to file."""
        return self.s3.objects(BUCKET)

    def _is_connected(self, program: str) -> bool:
        figures = self.metrics(program)
        links = [value for name, value in figures.items() if name.endswith("_broker_up")]
        return bool(links) and all(links)

    def _make_witness(self) -> ManagedProcess:
        if shutil.which("mosquitto_sub") is None:
            raise ProcessError("mosquitto_sub is not installed; dev/scripts/need.sh mosquitto installs it")
        where = ["-h", "127.0.0.1", "-p", str(self.edge_broker.port), "-t", f"{TOPIC}/#"]
        # It buffers what it prints until the first message, and `start` waits for its word that it is subscribed.
        args = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-V", "5", "-q", "1", *where, "-F", "id %D"]
        return ManagedProcess("witness", args, log=self.folder / "witness.log")

    def _witness_log(self) -> str:
        return "" if self.witness is None else self.witness.log_text()

    def _environment(self, program: str, video_source: str | None) -> dict[str, str]:
        common = {"METRICS_PORT": str(self._metrics_ports[program])}
        outbox = {"OUTBOX_PATH": str(self.folder / f"{program}.outbox")}
        if program == DETECTOR:
            source = {} if video_source is None else {"VIDEO_SOURCE": video_source}
            names = {"EDGE_ID": self.edge_id, "CAMERA_ID": self.camera_id}
            return common | outbox | source | names | {"MQTT_URL": self.edge_broker.url}
        if program == FORWARDER:
            urls = {"EDGE_MQTT_URL": self.edge_broker.url, "CLOUD_MQTT_URL": self.cloud_broker.url}
            return common | outbox | urls | {"EDGE_ID": self.edge_id}
        return common | {
            "MQTT_URL": self.cloud_broker.url,
            "COS_ENDPOINT": self.s3.endpoint,
            "COS_BUCKET": BUCKET,
            "COS_HMAC_ACCESS_KEY_ID": self.s3.access_key_id,
            "COS_HMAC_SECRET_ACCESS_KEY": self.s3.secret_access_key,
        }


def _broker(name: str, folder: Path) -> Mosquitto:
    return Mosquitto(folder / name, name=name, base_config=_ROOT / name / "mosquitto.conf")
