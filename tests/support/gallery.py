"""A gallery over a real bucket and a real broker, and what is put into both."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np

from dev.stack.ports import free_port
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, Message, new_id
from object_store.keys import StoredObject, object_for
from object_store.readable import ReadableBucket
from tests.support.programs import AS_IN_THE_FIELD, Program
from tests.support.stores import environment

NOON = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def png(number: int = 0) -> bytes:
    """A small picture, another one for each number."""
    picture = np.full((48, 48, 3), (number * 37 % 256, number * 91 % 256, 200), np.uint8)
    return cv2.imencode(".png", picture)[1].tobytes()


def message(time: datetime, *, edge: str = "tx2", camera: str = "door", track: str | None = None) -> Message:
    event = FaceEvent(new_id(), edge, camera, time, 7, (640, 480), (10, 20, 30, 40), 0.875, track)
    return event.to_message("facedetection_topic", png(int(time.timestamp())))


def face(time: datetime, **names: str) -> StoredObject:
    return object_for(message(time, **names), received_at=time)


def put(store: ReadableBucket, objects: Iterable[StoredObject]) -> list[str]:
    """Their keys."""
    keys = []
    for each in objects:
        store.put(each)
        keys.append(each.key)
    return keys


class Gallery(Program):
    """A `cloud_gallery`, not started."""

    def __init__(self, folder: Path, url: str, s3: S3Server | str, **settings: str) -> None:
        self.port = free_port()
        if isinstance(s3, str):
            store = environment(s3)
        else:
            store = environment(s3.endpoint, s3.access_key_id, s3.secret_access_key)
        # A test says once how an edge is, which must hold for as long as it looks at the page.
        base = AS_IN_THE_FIELD | {"MQTT_URL": url, "GALLERY_PORT": str(self.port)}
        super().__init__("cloud_gallery", folder, store | base | settings)

    def start(self) -> None:
        super().start()
        self.wait_ready(self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, path: str, *, post: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; `post` is sent as a form."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if post is None:
                connection.request("GET", path, headers=sent)
            else:
                sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
                connection.request("POST", path, urlencode(post), sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()
