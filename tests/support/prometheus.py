"""Prometheus and its tool, as dev/scripts/need.sh puts them there."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_PATH = os.pathsep.join([os.environ["PATH"], str(_CACHE / "edge_face_detection/prometheus/usr/bin")])


def find_program(program: str) -> str:
    found = shutil.which(program, path=_PATH)
    assert found, f"there is no {program}: dev/scripts/need.sh prometheus"
    return found


def promtool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """What it says of this, exit status included; `given` is its standard input."""
    command = [find_program("promtool"), *arguments]
    return subprocess.run(command, input=given, text=True, capture_output=True, timeout=60, check=False)


class Prometheus(ManagedProcess):
    """A server with this configuration, in `folder`."""

    def __init__(self, folder: Path, config: str) -> None:
        self._port = free_port()
        (folder / "prometheus.yml").write_text(config)
        where = [f"--web.listen-address=127.0.0.1:{self._port}", f"--storage.tsdb.path={folder / 'data'}"]
        super().__init__(
            "prometheus",
            [find_program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", *where],
            log=folder / "prometheus.log",
            ready=lambda: listens(self._port) and self._get("/-/ready")[0] == 200,
        )

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, path: str) -> Any:
        """`data` of what its HTTP API answers."""
        return json.loads(self._get(f"/api/v1/{path}")[1])["data"]

    def value(self, query: str) -> float | None:
        """Of the only, or the first, sample that an expression has at present."""
        result = self.ask(f"query?query={quote(query)}")["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[str]:
        """The names of the alerts that are."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}
