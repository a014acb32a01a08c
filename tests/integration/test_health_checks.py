"""The images' health checks, as busybox runs them: never through a proxy, whatever the environment says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev.stack.ports import free_port
from tests.support.fake_http import Answer, FakeHttp
from tests.support.programs import ROOT

PROGRAMS = ("cloud_gallery", "cloud_saver", "edge_face_detection", "edge_forwarder")


def is_healthy(dockerfile: Path, folder: Path, port: int, proxy: str) -> bool:
    (command,) = re.findall(r"HEALTHCHECK .*\\\n +CMD (.*)", dockerfile.read_text())
    busybox = shutil.which("busybox")
    assert busybox, "there is no busybox: dev/scripts/need.sh busybox-static"
    tool = folder / "wget"
    if not tool.exists():
        tool.symlink_to(busybox)
    names = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
    proxies = {name: proxy for each in names for name in (each, each.upper())}
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "METRICS_PORT": str(port)} | proxies
    # Debian's busybox does not know -T, which Alpine's does.
    command = command.replace(":9000/", f":{port}/").replace(" -T 3 ", " ")
    done = subprocess.run(["sh", "-c", command], env=environment, timeout=20, check=False)
    return done.returncode == 0


# The demo's store refuses a request without a signature, which shows that it is there.
@pytest.mark.parametrize(("image", "status"), [*((name, 200) for name in PROGRAMS), ("dev/demo_s3", 403)])
def test_a_health_check_asks_the_program_and_no_proxy(tmp_path: Path, image: str, status: int) -> None:
    """A proxy that is away makes nobody unhealthy, and one that answers anything makes nobody healthy."""
    dockerfile = ROOT / image / "Dockerfile"
    with FakeHttp(lambda _request: Answer(status, b"fine")) as server:
        there = int(server.url.rpartition(":")[2])
        assert is_healthy(dockerfile, tmp_path, there, f"http://127.0.0.1:{free_port()}")
        asked = len(server.requests)
        assert not is_healthy(dockerfile, tmp_path, free_port(), server.url)
        assert len(server.requests) == asked


def test_no_other_check_could_use_a_proxy() -> None:
    """Those of the brokers use a tool that knows none from the environment."""
    found = {path for path in ROOT.glob("*/Dockerfile") if "HEALTHCHECK" in path.read_text()}
    others = found - {ROOT / name / "Dockerfile" for name in PROGRAMS}
    for path in others:
        assert re.search(r'HEALTHCHECK .*\\\n +CMD \["mosquitto_sub", ', path.read_text()), path
