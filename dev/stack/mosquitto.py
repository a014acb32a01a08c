"""A real Mosquitto on loopback that keeps its port over a restart."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens

# Unless an image's configuration is given. The programs do not rely on a broker to keep anything.
_DEFAULT_CONFIG = """\
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 100000
upgrade_outgoing_qos true
set_tcp_nodelay true
"""

# Lines of an image's configuration that name places of the image, which this machine does not have.
_PLACES = """
listener port bind_address socket_domain user pid_file include_dir log_dest log_timestamp_format persistence_location
password_file acl_file cafile capath certfile keyfile require_certificate use_identity_as_username
use_subject_as_username tls_version
"""
_OF_THE_IMAGE = frozenset(_PLACES.split())


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """PEM files of a TLS listener. With `ca`, clients must show a certificate signed by it."""

    cert: Path
    key: Path
    ca: Path | None = None


def find_mosquitto() -> str:
    """The broker's program. Debian has it in /usr/sbin, which is not on everybody's PATH.

    Raises FileNotFoundError where it is not installed.
    """
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])
    found = shutil.which("mosquitto", path=search)
    if found is None:
        raise FileNotFoundError("mosquitto is not installed; dev/scripts/need.sh mosquitto installs it")
    return found


class Mosquitto(ManagedProcess):
    """A broker on 127.0.0.1. Its configuration and log lie in `folder`, which is made; one folder a broker.

    `base_config` is an image's `mosquitto.conf`, taken without its listener and its paths. `config_lines` stand behind
    it, so `listener …` among them adds a listener. `tls`: the listener speaks TLS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "mosquitto",
        base_config: Path | None = None,
        config_lines: Sequence[str] = (),
        tls: ListenerTls | None = None,
    ) -> None:
        self.port = free_port()
        self.tls = tls
        self.config = folder / "mosquitto.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text("\n".join([*self._listener(), *_settings(base_config), *config_lines, ""]))
        command = [find_mosquitto(), "-c", str(self.config)]
        super().__init__(name, command, log=folder / "mosquitto.log", ready=lambda: listens(self.port))

    @property
    def url(self) -> str:
        """As `MQTT_URL` wants it, without user and password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"

    def _listener(self) -> list[str]:
        lines = ["log_dest stderr", "log_timestamp_format %Y-%m-%dT%H:%M:%S"]
        if os.geteuid() == 0:
            # As another user it could not read the folder, and the kernel would no longer end it with its parent.
            lines.append("user root")
        lines.append(f"listener {self.port} 127.0.0.1")
        if self.tls is not None:
            lines += [f"certfile {self.tls.cert}", f"keyfile {self.tls.key}"]
            if self.tls.ca is not None:
                lines += [f"cafile {self.tls.ca}", "require_certificate true"]
        return lines


def _settings(base_config: Path | None) -> list[str]:
    text = _DEFAULT_CONFIG if base_config is None else base_config.read_text()
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and line[0] != "#" and line.split()[0] not in _OF_THE_IMAGE]
