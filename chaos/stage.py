"""The parts on stage: real processes, with a link that can be cut between each two that talk."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from chaos.links import Link, Links
from local_stack.mosquitto import Mosquitto
from local_stack.processes import ManagedProcess
from local_stack.s3 import S3Server

BUCKET = "faces"


def _broker_lines(*, plain: bool) -> list[str]:
    """The custody brokers keep nothing; the plain chain gets what its builders would turn on."""
    if not plain:
        return []
    return ["persistence true", "autosave_interval 1"]


class Stage:
    """Custody as it is deployed; or, with `plain`, the QoS 1 chain that everyone builds, for comparison.

    Args:
        folder: holds outboxes, bucket and logs.
        rate: pictures a second.
        size: bytes of a picture.
        plain: run the plain QoS 1 chain instead.

    """

    def __init__(self, folder: Path, *, rate: float, size: int, plain: bool = False) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.stop_file = folder / "stop"
        self.links_thread = Links()
        self.edge_broker = Mosquitto(
            folder / "edge_broker", name="edge broker", config_lines=_broker_lines(plain=plain)
        )
        self.cloud_broker = Mosquitto(
            folder / "cloud_broker", name="cloud broker", config_lines=_broker_lines(plain=plain)
        )
        self.s3 = S3Server(folder / "s3", name="S3 server")
        self.s3.create_bucket(BUCKET)
        targets = {
            "producer-edge": self.edge_broker.port,
            "edge-forwarder": self.edge_broker.port,
            "forwarder-cloud": self.cloud_broker.port,
            "cloud-saver": self.cloud_broker.port,
            "saver-S3": self.s3.port,
        }
        self.links: dict[str, Link] = {name: self.links_thread.open(name, port) for name, port in targets.items()}
        forwarder, saver = ("chaos.plain_chain", "chaos.plain_chain") if plain else ("edge_forwarder", "cloud_saver")
        producer = "chaos.plain_chain" if plain else "chaos.producer"
        self.producer = self._process(
            "producer",
            [
                producer,
                *(["produce"] if plain else []),
                f"--broker={self._url('producer-edge')}",
                f"--outbox={folder / 'producer.db'}",
                f"--journal={self.journal}",
                f"--stop-file={self.stop_file}",
                f"--rate={rate}",
                f"--size={size}",
            ],
            {},
        )
        self.forwarder = self._process(
            "forwarder",
            [forwarder, *(["forward"] if plain else [])],
            {
                "EDGE_ID": "chaos",
                "EDGE_MQTT_URL": self._url("edge-forwarder"),
                "CLOUD_MQTT_URL": self._url("forwarder-cloud"),
                "OUTBOX_PATH": str(folder / "forwarder.db"),
            },
        )
        self.saver = self._process(
            "saver",
            [saver, *(["save"] if plain else [])],
            {
                "MQTT_URL": self._url("cloud-saver"),
                "COS_ENDPOINT": f"http://127.0.0.1:{self.links['saver-S3'].port}",
                "COS_BUCKET": BUCKET,
                "COS_HMAC_ACCESS_KEY_ID": self.s3.access_key_id,
                "COS_HMAC_SECRET_ACCESS_KEY": self.s3.secret_access_key,
            },
        )
        self.processes: dict[str, ManagedProcess] = {
            process.name: process
            for process in (self.s3, self.cloud_broker, self.edge_broker, self.saver, self.forwarder, self.producer)
        }
        #: The most memory each had at any time, in bytes.
        self.peaks: dict[str, int] = dict.fromkeys(self.processes, 0)

    def _url(self, link: str) -> str:
        return f"mqtt://127.0.0.1:{self.links[link].port}"

    def _process(self, name: str, module: list[str], settings: dict[str, str]) -> ManagedProcess:
        root = str(Path(__file__).parent.parent)
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": root, **settings}
        return ManagedProcess(name, [sys.executable, "-m", *module], log=self.folder / f"{name}.log", env=environment)

    def start(self) -> None:
        for process in self.processes.values():
            process.start()

    def note_memory(self) -> None:
        for name, process in self.processes.items():
            self.peaks[name] = max(self.peaks[name], process.peak_rss_bytes())

    def kill(self, name: str) -> None:
        self.note_memory()
        self.processes[name].kill()

    def mend(self, name: str) -> None:
        """Whatever happened to this part, it is well afterwards."""
        if name in self.links:
            self.links_thread.set(self.links[name])
            return
        process = self.processes[name]
        if process.running:
            process.resume()
        elif not self._has_finished(process):
            process.start()

    def _has_finished(self, process: ManagedProcess) -> bool:
        return process is self.producer and self.stop_file.exists() and process.poll() == 0

    def run_dry(self, *, is_dry: Callable[[], bool], timeout: float) -> float | None:
        """Ends production and waits until all is delivered; the seconds it took, or None where it does not come."""
        self.stop_file.touch()
        began = time.monotonic()
        while time.monotonic() - began < timeout:
            self.note_memory()
            if is_dry():
                return time.monotonic() - began
            time.sleep(0.05)
        return None

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        self.links_thread.close()
