"""Memory is allocated by jemalloc, as the images want it."""

from __future__ import annotations

import pytest

from tests.containers.engine import LABEL, PROGRAMS, docker, in_container, inspect, on_musl, run
from tests.support.waiting import eventually

LIBRARY = "/usr/lib/libjemalloc.so.2"
SAVER = {
    "MQTT_URL": "mqtt://nowhere.invalid",
    "COS_ENDPOINT": "http://nowhere.invalid",
    "COS_BUCKET": "faces",
    "COS_HMAC_ACCESS_KEY_ID": "key",
    "COS_HMAC_SECRET_ACCESS_KEY": "secret",
}
# What the process whose command line begins like this has mapped, and its threads' names.
OF_PYTHON = """
for process in /proc/[0-9]*; do
    case $(tr '\\0' ' ' < $process/cmdline) in "python3 -m "*) cat $process/maps $process/task/*/comm ;; esac
done
"""

FLOOD = """
import os, resource, threading, time

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def flood():
    messages = [os.urandom(20_000) for _ in range(5_000)]
    step.wait()
    step.wait()
    del messages
    ended.wait()

step, ended = threading.Barrier(3), threading.Event()
before = resident()
threads = [threading.Thread(target=flood) for _ in range(2)]
for thread in threads:
    thread.start()
step.wait()
full = resident()
step.wait()
until = time.monotonic() + 20
while resident() > before + 30e6 and time.monotonic() < until:
    time.sleep(0.1)
ended.set()
print(before, full, resident())
"""


@pytest.fixture(scope="module", autouse=True)
def _musl(images: None) -> None:  # noqa: ARG001 - usefixtures does not work on fixtures
    if not on_musl():
        pytest.skip("the images' base is not Alpine's root, and its C library's allocator is used")


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_allocates_by_jemalloc(name: str) -> None:
    """With its settings: the thread that gives memory back is there only if they were understood."""
    of_python = in_container(name, OF_PYTHON)
    assert LIBRARY in of_python
    assert "jemalloc_bg_thd" in of_python
    assert b"<jemalloc>" not in run("docker", "logs", name).stderr


def test_all_programs_have_the_same_settings() -> None:
    """They stand in each Dockerfile."""
    environments = [dict(entry.split("=", 1) for entry in inspect(image)["Config"]["Env"]) for image in PROGRAMS]
    settings = {(environment["LD_PRELOAD"], environment["MALLOC_CONF"]) for environment in environments}
    assert len(settings) == 1
    assert {library for library, _ in settings} == {LIBRARY}


def test_memory_is_given_back_after_a_flood() -> None:
    """Of 200 MB in two threads that then only wait, as they do when the faces have passed."""
    told = docker("run", "--rm", "--network", "none", "--entrypoint", "python3", "edge_forwarder", "-c", FLOOD)
    before, full, after = map(int, told.split())
    assert full > before + 190e6
    assert after < before + 30e6


@pytest.mark.parametrize(
    ("user", "begin"), [("0", f"rm {LIBRARY}"), ("10001", "export LD_PRELOAD=")], ids=["no file", "not wanted"]
)
def test_the_program_runs_without_jemalloc(user: str, begin: str) -> None:
    options = [part for name, value in SAVER.items() for part in ("--env", f"{name}={value}")]
    options += ["--label", LABEL, "--network", "none", "--user", user, "--entrypoint", "sh"]
    program = f"{begin}; exec /sbin/tini -- python3 -m cloud_saver"
    name = docker("run", "--detach", *options, "cloud_saver", "-c", program).strip()
    try:
        eventually(lambda: b"started: faces go to bucket" in run("docker", "logs", name).stderr, what="no start")
        of_python = in_container(name, OF_PYTHON)
        assert "python3" in of_python
        assert "jemalloc" not in of_python
        assert b"libjemalloc" not in run("docker", "logs", name).stderr
    finally:
        docker("rm", "--force", name)
