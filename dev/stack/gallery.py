"""The gallery over a stack's bucket."""

from pathlib import Path

from dev.stack.ports import free_port
from dev.stack.processes import listens
from dev.stack.programs import PythonProcess
from dev.stack.s3 import S3Server

# People know it; another one where it is taken.
_PORT = 8080


class Gallery(PythonProcess):
    """`cloud_gallery` for this machine alone, over a running S3 server; its log is in `folder`."""

    def __init__(self, folder: Path, s3: S3Server, *, mqtt_url: str) -> None:
        port = free_port() if listens(_PORT) else _PORT
        self.url = f"http://127.0.0.1:{port}/"
        settings = {"MQTT_URL": mqtt_url, "GALLERY_PORT": str(port), **s3.settings()}
        log = folder / "cloud_gallery.log"
        super().__init__("cloud_gallery", ["cloud_gallery"], settings, log=log, ready=lambda: listens(port))
