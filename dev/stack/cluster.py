"""The cloud broker as a cluster: compose/cluster.yml's three nodes of RabbitMQ, on a Docker engine."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dev.stack.bundle import Bundle

ROOT = Path(__file__).parents[2]
PROJECT = "facedetection-cluster"
FILES = ("docker-compose.cloud.yml", "compose/cluster.yml", "dev/stack/cluster.yml")
ADDRESSES = ("172.31.250.11", "172.31.250.12", "172.31.250.13")
NAMES = ("cloud_rabbitmq1", "cloud_rabbitmq2", "cloud_rabbitmq3")
IMAGE = "rabbitmq:4.3-alpine"


# Each bundle has a folder of its own: a name may be enrolled again.
_bundles = itertools.count(1)


class ClusterError(Exception):
    """A command failed; the text has what it said."""


class Cluster:
    """Three nodes and their CA. Nodes are numbered from 0; `folder` takes bundles."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name},
            "CLOUD_ADDRESS": ",".join(ADDRESSES),
            "CLOUD_BROKERS": " ".join(ADDRESSES),
        }

    @property
    def mqtt_urls(self) -> str:
        """Of the way in from outside, as CLOUD_MQTT_URL has it."""
        return ",".join(f"mqtts://{address}:8883" for address in ADDRESSES)

    @property
    def amqp_urls(self) -> str:
        return ",".join(f"amqp://{address}:5672" for address in ADDRESSES)

    def run(self, *command: str, given: bytes = b"", within: float = 300) -> bytes:
        """Standard output of a command. ClusterError: it failed."""
        done = subprocess.run(
            command, input=given, capture_output=True, cwd=ROOT, env=self._environment, timeout=within, check=False
        )
        if done.returncode:
            raise ClusterError(f"{' '.join(command)}: exit {done.returncode}\n{(done.stdout + done.stderr).decode()}")
        return done.stdout

    def compose(self, *arguments: str) -> bytes:
        return self.run(*self._compose, *arguments)

    @property
    def _compose(self) -> Sequence[str]:
        files = [part for file in FILES for part in ("--file", file)]
        return ("docker", "compose", "--project-name", PROJECT, "--env-file", os.devnull, *files)

    def script(self, *arguments: str) -> bytes:
        """One of the commands of deploy/cluster.sh."""
        return self.run("env", f"COMPOSE={' '.join(self._compose)}", "deploy/cluster.sh", *arguments)

    def enrol(self, name: str, command: str = "enrol") -> Bundle:
        folder = self._folder / f"{name}-{next(_bundles)}"
        return Bundle.unpack(self.script(command, name), folder)

    def enrol_many(self, name: str, count: int) -> list[Bundle]:
        """Edges `name`1 to `name``count`, as `enrol` would make them one by one, in a hundredth of the time."""
        first = self.enrol(f"{name}1")
        told = json.loads(self.control(0, "export_definitions", "-"))
        about = {kind: "name" if kind == "users" else "user" for kind in ("users", "permissions", "topic_permissions")}
        own = {kind: [each for each in told[kind] if each[key] == f"{name}1"] for kind, key in about.items()}
        text = json.dumps(own)
        copies = [json.loads(text.replace(f"{name}1", f"{name}{number}")) for number in range(2, count + 1)]
        all_of_them = {kind: [each for copy in copies for each in copy[kind]] for kind in about}
        file = f"/tmp/{name}.json"  # noqa: S108 - of the container
        take = f"cat >{file} && rabbitmqctl --quiet import_definitions {file} && rm {file}"
        self.run("docker", "exec", "-i", NAMES[0], "sh", "-c", take, given=json.dumps(all_of_them).encode())
        loop = f"for n in $(seq 2 {count}); do identities enrol {name}$n >/tmp/{name}$n.tar || exit 1; done"
        pack = f"tar -C /tmp -cf - $(cd /tmp && ls {name}*.tar) && rm /tmp/{name}*.tar"
        made = self.run("docker", "exec", "cloud_identities", "sh", "-c", f"{loop} && {pack}", within=1200)
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            read = {member.name: tar.extractfile(member) for member in tar}
            bundles = {
                file: Bundle.unpack(each.read(), self._folder / file.removesuffix(".tar"))
                for file, each in read.items()
                if each is not None
            }
        return [first, *(bundles[f"{name}{number}.tar"] for number in range(2, count + 1))]

    # -- nodes --------------------------------------------------------------------------------

    def up(self) -> None:
        """Starts it anew, without anything from before, and waits until each node serves."""
        self.down()
        self.compose("up", "--detach", "--build", "cloud_identities", *NAMES)
        for node in range(3):
            self.wait(node)

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "1", "--remove-orphans")

    def wait(self, node: int, within: float = 120) -> None:
        """Until the node serves. ClusterError: it does not."""
        deadline = time.monotonic() + within
        while True:
            try:
                self.control(node, "await_startup", "--timeout", "60")
                self.diagnose(node, "check_port_listener", "8883")
            except ClusterError as error:
                if time.monotonic() > deadline:
                    raise ClusterError(f"{NAMES[node]} does not come up: {error}\n{self.log(node)}") from error
                time.sleep(0.5)
            else:
                return

    def control(self, node: int, *arguments: str) -> str:
        return self.run("docker", "exec", NAMES[node], "rabbitmqctl", "--quiet", *arguments).decode()

    def empty_queue(self) -> None:
        """Forgets the faces that wait, where there is a queue."""
        with contextlib.suppress(ClusterError):
            self.control(0, "purge_queue", "facedetection_faces")

    def diagnose(self, node: int, *arguments: str) -> str:
        return self.run("docker", "exec", NAMES[node], "rabbitmq-diagnostics", "--quiet", *arguments).decode()

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of it."""
        told: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", container))
        return told[0]

    def _pid(self, node: int) -> str:
        return str(self.inspect(NAMES[node])["State"]["Pid"])

    def log(self, node: int, lines: int = 40) -> str:
        done = subprocess.run(
            ["docker", "logs", "--tail", str(lines), NAMES[node]], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def kill(self, node: int) -> None:
        """SIGKILL to all of the node."""
        self.run("docker", "kill", NAMES[node])

    def start(self, node: int) -> None:
        self.run("docker", "start", NAMES[node])

    def stop(self, node: int) -> None:
        """In order, as an update does; a node that sees no other never ends by itself, and is killed after 20 s."""
        self.run("docker", "stop", "--time", "20", NAMES[node])

    def pause(self, node: int) -> None:
        self.run("docker", "pause", NAMES[node])

    def resume(self, node: int) -> None:
        self.run("docker", "unpause", NAMES[node])

    @contextlib.contextmanager
    def cut_off(self, node: int) -> Iterator[None]:
        """The node sees no other node meanwhile, nor they it. Clients reach all of them."""
        others = [address for number, address in enumerate(ADDRESSES) if number != node]
        for other in others:
            self._firewall(node, "--insert", other)
        try:
            yield
        finally:
            for other in others:
                self._firewall(node, "--delete", other)

    def _firewall(self, node: int, what: str, other: str) -> None:
        for chain, side in (("INPUT", "--source"), ("OUTPUT", "--destination")):
            self.run(
                "nsenter", "--target", self._pid(node), "--net", "iptables", what, chain, side, other, "--jump", "DROP"
            )

    def memory(self, node: int) -> int:
        """Bytes that the node takes up, without the kernel's cache of files."""
        stat = (line.split() for line in self._group(node, "memory", "memory.stat").splitlines())
        figures = {name: int(value) for name, value in stat}
        return figures.get("total_rss", figures.get("anon", 0))

    def cpu_seconds(self, node: int) -> float:
        """User and system time since the node was started."""
        if usage := self._group(node, "cpuacct", "cpuacct.usage"):
            return int(usage) / 1e9
        stat = dict(line.split() for line in self._group(node, "", "cpu.stat").splitlines())
        return int(stat["usage_usec"]) / 1e6

    def _group(self, node: int, controller: str, file: str) -> str:
        """What the kernel tells of the node's control group, of version 1 or 2; empty where there is no such file."""
        groups = [line.split(":", 2) for line in Path("/proc", self._pid(node), "cgroup").read_text().splitlines()]
        for base, controllers in ((f"/sys/fs/cgroup/{controller}", controller), ("/sys/fs/cgroup", "")):
            for _, names, group in groups:
                if names == controllers and (path := Path(base + group, file)).exists():
                    return path.read_text()
        return ""
