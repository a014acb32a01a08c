"""The profile `monitoring` beside the running stack: what Prometheus sees there. Where no registry answers, Debian's
Prometheus is in the image's place; Grafana has no such stand-in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from tests.containers.engine import LABEL, ROOT, compose, docker, inspect, run
from tests.support.prometheus import find_program
from tests.support.waiting import eventually

PROFILES = ("gallery", "monitoring")
IMAGE = yaml.safe_load((ROOT / "docker-compose.cloud.yml").read_text())["services"]["prometheus"]["image"]
# The user, the folder and the command are those of the real image. Debian's program wants Debian's C library, which
# none of our images has: so the image has a root of its own.
STAND_IN = """\
FROM scratch
COPY root /
COPY --chown=65534:65534 prometheus /prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]
"""


def lay_out(program: Path, root: Path) -> None:
    """The program in a root of its own, with the libraries and the loader that it names."""
    # Each line ends with an address: the library's name first, where it has one, then its place.
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [Path(found[1]) for line in linked.splitlines() if (found := re.search(r"(/\S+) \(0x", line))]
    assert libraries
    for file, place in ((program, Path("/bin/prometheus")), *((library, library) for library in libraries)):
        target = root / place.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("nobody:x:65534:65534::/:/bin/false\n")


@pytest.fixture(scope="module")
def image(stack: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001 - as `usefixtures`
    if run("docker", "pull", IMAGE, ok=range(256), within=300).returncode == 0:
        yield
        return
    folder = tmp_path_factory.mktemp("prometheus")
    lay_out(Path(find_program("prometheus")), folder / "root")
    (folder / "prometheus").mkdir()
    (folder / "Dockerfile").write_text(STAND_IN)
    docker("build", "--label", LABEL, "--tag", IMAGE, str(folder))
    try:
        yield
    finally:
        docker("rmi", "--force", IMAGE)


@pytest.fixture(scope="module")
def prometheus(image: None) -> Iterator[None]:  # noqa: ARG001 - as `usefixtures`
    """It alone of the profile: who starts all of it wants Grafana's image as well."""
    compose("up", "--detach", "--no-deps", "prometheus", profiles=PROFILES)
    try:
        yield
    finally:
        print(run("docker", "logs", "--tail", "30", "prometheus", ok=range(256)).stderr.decode())
        compose("rm", "--force", "--stop", "--volumes", "prometheus", profiles=PROFILES)


def ask(path: str) -> Any:
    """`data` of what its HTTP API answers on this host; None while it does not."""
    try:
        with urlopen(f"http://127.0.0.1:9090/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def values(query: str) -> list[float]:
    answer = ask(f"query?query={quote(query)}") or {"result": []}
    return [float(sample["value"][1]) for sample in answer["result"]]


@pytest.mark.usefixtures("prometheus")
@pytest.mark.parametrize(
    "query", ['up{job="cloud_saver"}', 'up{job="cloud_gallery"}', 'facedetection_edge_up{edge="demo"}']
)
def test_prometheus_finds_the_programs_in_the_cloud_and_through_the_saver_the_edge(query: str) -> None:
    """With the files as they lie in the checkout, by the names of the services."""
    eventually(lambda: values(query) == [1.0], within=60, what=lambda: f"{values(query)}: {ask('targets')}")


@pytest.mark.usefixtures("prometheus")
def test_prometheus_watches_the_rules_as_an_ordinary_user_on_a_read_only_root() -> None:
    eventually(lambda: ask("rules"), what="it does not answer")
    (group,) = ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert len(group["rules"]) == (ROOT / "docs/alerts.yml").read_text().count("- alert:")
    assert inspect("prometheus")["HostConfig"]["ReadonlyRootfs"]
    # Asked on the host: neither image need have a program that tells.
    assert docker("top", "prometheus", "-o", "pid,uid").split()[-1] == "65534"
