"""An edge, a store, and the programs between them and the cluster."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dev.stack.bundle import Bundle
from dev.stack.cluster import Cluster
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, Message, new_id
from face_messages.message import TOPIC
from tests.support.parts import SendingSide
from tests.support.programs import BUCKET, Program, forwarder, saver
from tests.support.waiting import eventually

PNG = b"\x89PNG\r\n\x1a\n"

Faces = list[tuple[bytes, Message]]


@dataclass(frozen=True, slots=True)
class Site:
    """What it starts ends with the test."""

    cluster: Cluster
    bundle: Bundle
    edge_id: str
    s3: S3Server
    edge_broker: Mosquitto
    folder: Path
    _stack: ExitStack

    def saver(self, name: str = "a", *, wait: bool = True, **settings: str) -> Program:
        """A saver by AMQP that is connected, unless `wait` is false."""
        (folder := self.folder / f"saver-{name}").mkdir()
        program = saver(folder, "", self.s3, **({"AMQP_URL": self.cluster.amqp_urls, "SAVER_ID": name} | settings))
        self._stack.enter_context(program)
        if wait:
            program.expect("cloud_broker_up", 1)
        return program

    def start(self, program: Program) -> Program:
        self._stack.enter_context(program)
        return program

    def _urls(self, first: int) -> str:
        urls = self.cluster.mqtt_urls.split(",")
        return ",".join(urls[first:] + urls[:first])

    def forwarder(self, *, first: int = 0) -> Program:
        """The edge's forwarder, connected at both sides; it begins with the node `first`."""
        settings = {"EDGE_ID": self.edge_id} | self.bundle.settings
        program = self.start(forwarder(self.folder, self.edge_broker.url, self._urls(first), **settings))
        program.expect("cloud_broker_up", 1)
        program.expect("edge_broker_up", 1)
        return program

    def sending(self, *, first: int = 0, **options: Any) -> SendingSide:
        """Sends to the cluster as the edge's forwarder does."""
        given: dict[str, Any] = {"client_id": self.edge_id, "tls": self.bundle.files} | options
        return self._stack.enter_context(SendingSide(self._urls(first), self.folder / "sending.db", **given))

    def detector(self) -> SendingSide:
        """Sends to the edge broker."""
        client_id = f"{self.edge_id}:door"
        return self._stack.enter_context(
            SendingSide(self.edge_broker.url, self.folder / "detector.db", client_id=client_id)
        )

    def faces(self, count: int) -> Faces:
        """Events of now, each another one, with their ids."""
        events = [FaceEvent(new_id(), self.edge_id, "door", datetime.now(UTC), frame=n) for n in range(count)]
        return [(event.id.encode(), event.to_message(TOPIC, PNG + event.id.encode())) for event in events]

    def expect_all(self, faces: Faces, within: float = 60) -> None:
        """Each is in the bucket, once."""
        wanted = sorted(message.payload for _, message in faces)

        def stored() -> list[bytes]:
            return sorted(path.read_bytes() for path in self.s3.objects(BUCKET).values())

        eventually(
            lambda: len(self.s3.objects(BUCKET)) >= len(wanted),
            within=within,
            what=lambda: f"{len(stored())} objects, not {len(wanted)}",
        )
        eventually(lambda: stored() == wanted, within=5, what="other objects than faces that were sent")


def put(sending: SendingSide, faces: Faces) -> Faces:
    """Hands them over, and returns them."""
    for message_id, message in faces:
        sending.outbox.put(message_id, message, lambda: None)
    return faces
