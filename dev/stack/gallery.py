"""The gallery over the demo's bucket, while the demo runs and after it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens
from dev.stack.s3 import S3Server

# People know it; another one where it is taken.
_PORT = 8080
_ROOT = Path(__file__).parents[2]


class Gallery(ManagedProcess):
    """`cloud_gallery` for this machine alone, over a running S3 server.

    Args:
        folder: of its log.
        s3: what holds the bucket.
        bucket: its name.
        mqtt_url: the cloud broker.

    """

    def __init__(self, folder: Path, s3: S3Server, bucket: str, *, mqtt_url: str) -> None:
        port = free_port() if listens(_PORT) else _PORT
        self.url = f"http://127.0.0.1:{port}/"
        settings = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(_ROOT),
            "MQTT_URL": mqtt_url,
            "GALLERY_PORT": str(port),
            "COS_ENDPOINT": s3.endpoint,
            "COS_BUCKET": bucket,
            "COS_HMAC_ACCESS_KEY_ID": s3.access_key_id,
            "COS_HMAC_SECRET_ACCESS_KEY": s3.secret_access_key,
        }
        command = [sys.executable, "-m", "cloud_gallery"]
        log = folder / "cloud_gallery.log"
        super().__init__("cloud_gallery", command, log=log, env=settings, ready=lambda: listens(port))
