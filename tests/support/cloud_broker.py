"""The cloud broker as its image has it: the repository's configuration, plugin and certificates, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dev.stack.bundle import Bundle
from dev.stack.mosquitto import find_mosquitto
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "cloud_mosquitto"


@cache
def _plugin() -> bytes:
    assert shutil.which("gcc"), "gcc is not installed: dev/scripts/need.sh gcc"
    flags = ("-shared", "-fPIC", "-O2", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "identity.so"
        subprocess.run(["gcc", *flags, "-o", str(made), str(IMAGE / "identity.c")], check=True)
        return made.read_bytes()


class CloudBroker(ManagedProcess):
    """`identities broker`, with `folder` in place of the image's places, and free ports.

    Args:
        folder: made when missing.
        address: CLOUD_ADDRESS.
        config_lines: of the listener for the outside, behind the repository's.

    """

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", config_lines: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port, self.outside_port = free_port(), free_port()
        self.pki = folder / "pki"
        self.pki.mkdir(parents=True)
        self.environment = {
            "PATH": f"{Path(find_mosquitto()).parent}:{os.environ['PATH']}",
            "PKI": str(self.pki),
            "SECRETS": str(folder / "secrets"),
            "CONFIG": str(folder / "mosquitto.conf"),
            "PORT": str(self.port),
            "CLOUD_ADDRESS": address,
        }
        self._configure(config_lines)
        super().__init__(
            "cloud_mosquitto",
            [str(IMAGE / "identities"), "broker"],
            log=folder / "broker.log",
            env=self.environment,
            ready=lambda: listens(self.port) and listens(self.outside_port),
        )

    def _configure(self, config_lines: Sequence[str]) -> None:
        (self.folder / "identity.so").write_bytes(_plugin())
        (self.folder / "conf.d").mkdir()
        inside = (IMAGE / "mosquitto.conf").read_text()
        outside = (IMAGE / "outside.conf").read_text()
        for there, here in (
            ("listener 1883", f"listener {self.port} 127.0.0.1"),
            ("include_dir /etc/mosquitto/conf.d", f"include_dir {self.folder}/conf.d"),
        ):
            assert there in inside
            inside = inside.replace(there, here)
        for there, here in (
            ("listener 8883", f"listener {self.outside_port} 127.0.0.1"),
            ("/usr/lib/cloud_mosquitto", str(self.folder)),
            ("/var/lib/cloud_mosquitto", str(self.pki)),
        ):
            assert there in outside
            outside = outside.replace(there, here)
        # As another user it could not read the folder, and the kernel would no longer end it with its parent.
        user = "user root\n" if os.geteuid() == 0 else ""
        (self.folder / "mosquitto.conf").write_text(user + inside)
        (self.folder / "conf.d" / "outside.conf").write_text("\n".join([outside, *config_lines, ""]))

    @property
    def url(self) -> str:
        """Of the inside."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def outside_url(self) -> str:
        return f"mqtts://127.0.0.1:{self.outside_port}"

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """One of the commands `enrol`, `renew`, `revoke`, `enrolled`, as in the image."""
        arguments = [str(IMAGE / "identities"), *command]
        return subprocess.run(arguments, env=self.environment | env, capture_output=True, timeout=30, check=False)

    def enrol(self, name: str, command: str = "enrol") -> Bundle:
        done = self.run(command, name)
        assert done.returncode == 0, done.stderr.decode()
        return Bundle.unpack(done.stdout, self.folder / f"{command}-{name}")
