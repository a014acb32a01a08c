"""The programs as processes of their own, with their figures."""

from __future__ import annotations

import http.client
import sys
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from dev.stack.ports import free_port
from dev.stack.processes import Started
from dev.stack.programs import ROOT, PythonProcess, python_path
from dev.stack.s3 import BUCKET, S3Server
from tests.support import fork_server
from tests.support.waiting import eventually

__all__ = ["AS_IN_THE_FIELD", "BUCKET", "QUICK", "ROOT", "Program", "forwarder", "saver"]

# A program's back-offs and its words of health take a fifth of their time, or all of it.
QUICK = {fork_server.TEMPO: "0.2"}
AS_IN_THE_FIELD = {fork_server.TEMPO: "1"}


# Seconds between two looks at a program's figures. A look takes some milliseconds of the processor, here and there,
# and a test that waits for a figure looks again and again.
_BETWEEN_LOOKS = 0.05


class Program(PythonProcess):
    """`python -m <name>` with these settings and no others but `QUICK`."""

    def __init__(self, name: str, folder: Path, settings: dict[str, str], *, forked: bool = True) -> None:
        """`forked`: a fork of a process that has the libraries already. Tests of the start itself do without.

        Only forks are quick.
        """
        self.forked = forked
        self.metrics_port = free_port()
        self._asked_at = 0.0
        base = {"METRICS_PORT": str(self.metrics_port)}
        super().__init__(name, [name], base | QUICK | settings, log=folder / f"{name}.log")

    def _launch(self) -> Started:
        env = self._env or {}
        # What the start of an interpreter reads, or the linker before it.
        special = {name: value for name, value in env.items() if name.startswith(("LD_", "PYTHON"))}
        is_plain = self._args[:2] == [sys.executable, "-m"] and special == {"PYTHONPATH": python_path()}
        if self.forked and is_plain:
            return fork_server.fork(self._args[2:], env, self.log)
        return super()._launch()

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def figure(self, name: str) -> float:
        """One of the figures of /metrics; -1 while it is not to be had. Waits a little if it was asked just now."""
        time.sleep(max(0.0, self._asked_at + _BETWEEN_LOOKS - time.monotonic()))
        self._asked_at = time.monotonic()
        try:
            _, text = self.ask("/metrics")
        except (OSError, http.client.HTTPException):
            return -1
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
        return next((s.value for s in samples if s.name == f"facedetection_{name}"), -1)

    def expect(self, name: str, value: float, *, within: float = 60) -> None:
        """Waits until the figure has this value."""

        def has_it() -> bool:
            assert self.running, self.describe_end()
            return self.figure(name) == value

        eventually(has_it, within=within, what=lambda: self.explain(name, value))

    def explain(self, name: str, value: float) -> str:
        return f"{name} is {self.figure(name)}, not {value}; the log of {self.name}:\n{self.log_tail(30)}"

    def expect_line(self, text: str, *, within: float = 60) -> str:
        """Waits for a line with this in the log."""
        return eventually(
            lambda: next((line for line in self.log_text().splitlines() if text in line), ""),
            within=within,
            what=lambda: f"no line with {text!r} in the log of {self.name}:\n{self.log_tail(30)}",
        )


def forwarder(folder: Path, edge_url: str, cloud_url: str, **settings: str) -> Program:
    """An `edge_forwarder` named `tx2`, not started."""
    urls = {"EDGE_ID": "tx2", "EDGE_MQTT_URL": edge_url, "CLOUD_MQTT_URL": cloud_url}
    return Program("edge_forwarder", folder, urls | {"OUTBOX_PATH": str(folder / "forwarder.db")} | settings)


def saver(folder: Path, url: str, store: S3Server | str, **settings: str) -> Program:
    """A `cloud_saver`, not started. `store` is a running S3 server or another endpoint."""
    keys = {"COS_HMAC_ACCESS_KEY_ID": "access-key-id", "COS_HMAC_SECRET_ACCESS_KEY": "secret-access-key"}
    elsewhere = {"COS_ENDPOINT": str(store), "COS_BUCKET": BUCKET, **keys}
    of_store = store.settings() if isinstance(store, S3Server) else elsewhere
    return Program("cloud_saver", folder, {"MQTT_URL": url, **of_store, **settings})
