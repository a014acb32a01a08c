"""The Docker engine and the stack on it, as a person uses them: by the commands `docker` and `docker compose`."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

EDGE = ("edge_mqtt_broker", "edge_forwarder", "edge_face_detection")
CLOUD = ("cloud_mosquitto", "cloud_saver", "cloud_gallery")
SERVICES = (*EDGE, *CLOUD, "demo_s3")
PROGRAMS = ("edge_forwarder", "edge_face_detection", "cloud_saver", "cloud_gallery")
IMAGES = SERVICES

PROJECT = "facedetection-test"
FILES = ("docker-compose.edge.yml", "docker-compose.cloud.yml", "compose/demo.yml")
STACK = (*FILES, "tests/containers/quick_health.yml")
# Marks what tests start besides the project, so that a later run can remove it.
LABEL = "facedetection-test"


def environment() -> dict[str, str]:
    """What reaches the engine, and nothing that would set anything in a compose file."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("DOCKER_")}


def run(
    *command: str, ok: Sequence[int] = (0,), within: float = 120, given: bytes = b"", cwd: Path = ROOT
) -> subprocess.CompletedProcess[bytes]:
    """What a command says that ends with one of the statuses `ok`; `given` is its standard input."""
    done = subprocess.run(
        command, input=given, capture_output=True, cwd=cwd, env=environment(), timeout=within, check=False
    )
    assert done.returncode in ok, f"{' '.join(command)}: exit {done.returncode}\n{(done.stdout + done.stderr).decode()}"
    return done


def docker(*arguments: str, within: float = 120) -> str:
    """Standard output of a docker command that succeeds."""
    return run("docker", *arguments, within=within).stdout.decode()


def compose(
    *arguments: str,
    files: Sequence[str] = STACK,
    profiles: Sequence[str] = ("gallery",),
    env: str = os.devnull,
    within: float = 120,
) -> str:
    """The same of a compose command on the test's project, with the file `env` in place of a person's .env."""
    named = [part for file in files for part in ("-f", file)] + [f"--profile={profile}" for profile in profiles]
    return docker("compose", "--project-name", PROJECT, "--env-file", env, *named, *arguments, within=within)


@cache
def on_musl() -> bool:
    """Whether the images stand on Alpine's own root, or on something that answers to its name."""
    return run("docker", "run", "--rm", "alpine:3.23", "sh", "-c", "ls /lib/ld-musl-*", ok=range(256)).returncode == 0


def in_network(*command: str, image: str = "cloud_mosquitto", options: Sequence[str] = ()) -> bytes:
    """Standard output of a command in a container of its own on hw03, as the README's smoke tests have it."""
    return run("docker", "run", "--rm", "--network", "hw03", *options, image, *command).stdout


@contextmanager
def secret_files(folder: Path, known: dict[str, str]) -> Iterator[None]:
    """Puts secrets into a new folder meanwhile, each for the containers' user and for nobody else, as on the VM."""
    folder.mkdir()
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o755)
    # Root inside a container may chown, whoever runs the tests may not.
    as_root = ("docker", "run", "--rm", "-i", "--user", "0", "--volume", f"{folder}:/s", "--entrypoint", "sh")
    try:
        for name, value in known.items():
            script = f"cat > /s/{name} && chown 10001:10001 /s/{name} && chmod 400 /s/{name}"
            run(*as_root, "cloud_saver", "-c", script, given=value.encode())
        yield
    finally:
        run(*as_root, "cloud_saver", "-c", "rm -f /s/*")


def inspect(name: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", name))
    assert isinstance(found, dict)
    return found


def health(name: str) -> str:
    return str(inspect(name)["State"].get("Health", {}).get("Status"))


def in_container(name: str, script: str) -> str:
    """What a shell's script prints in a running container."""
    return docker("exec", name, "sh", "-c", script)


def everything_shown(name: str) -> str:
    """What the engine, the log and the list of processes tell of a running container."""
    log = run("docker", "logs", name)
    processes = in_container(name, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true")
    return docker("inspect", name) + processes + (log.stdout + log.stderr).decode()


def figure(container: str, name: str) -> float:
    """A program's figure from its /metrics; NaN while it does not answer."""
    command = ("docker", "exec", container, "wget", "-q", "-T", "3", "-O", "-", "http://127.0.0.1:9100/metrics")
    text = run(*command, ok=range(256)).stdout.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"facedetection_{name}":
                return float(sample.value)
    return float("nan")


def bucket() -> dict[str, bytes]:
    """What is stored: object key to content."""
    archive = run("docker", "cp", "demo_s3:/buckets/faces", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        opened = ((member.name.partition("/")[2], tar.extractfile(member)) for member in tar if member.isfile())
        # Uploads under way have hidden names.
        return {key: file.read() for key, file in opened if file is not None and "/.rclone" not in f"/{key}"}


def digest(key: str) -> str | None:
    """The SHA-256 of an object's content, in hexadecimal; None where there is none."""
    told = run("docker", "exec", "demo_s3", "sha256sum", f"/buckets/faces/{key}", ok=(0, 1)).stdout.decode()
    return told.split()[0] if told else None


def keys(under: str = "faces") -> set[str]:
    """The keys alone of the objects in a folder of the bucket."""
    listed = run("docker", "exec", "demo_s3", "find", f"/buckets/faces/{under}", "-type", "f", ok=(0, 1, 137))
    paths = listed.stdout.decode().splitlines()
    return {path.removeprefix("/buckets/faces/") for path in paths if "/.rclone" not in path}


def kill(name: str) -> None:
    """`kill -9` of the container's process from outside, which unlike `docker kill` has it restarted."""
    state = inspect(name)["State"]
    helper = ("--pid", "host", "--user", "0", "--network", "none", "--entrypoint", "sh", "cloud_mosquitto")
    docker("run", "--rm", *helper, "-c", f"kill -9 {state['Pid']}")
    eventually(
        lambda: (now := inspect(name)["State"])["Running"] and now["StartedAt"] != state["StartedAt"],
        within=60,
        what=f"{name} was not restarted after it was killed",
    )


def memory_bytes(*names: str) -> dict[str, int]:
    """Memory that containers take up now, without the page cache, as `docker stats` shows it."""
    # It looks for two seconds, at all of them at once.
    shown = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names)
    units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    found = re.findall(r"^(\S+) ([\d.]+)([KMG]?i?B) ", shown, re.MULTILINE)
    assert len(found) == len(names), shown
    return {name: int(float(amount) * units[unit]) for name, amount, unit in found}


def remove_leftovers() -> None:
    """What an earlier run, which may have been killed, has left behind."""
    if ids := docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").split():
        docker("rm", "--force", "--volumes", *ids)
    compose("down", "--volumes", "--remove-orphans", "--timeout", "5", profiles=("gallery", "monitoring"))
