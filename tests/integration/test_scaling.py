"""Several savers in a group: they join and leave while faces flow, and share what a broker lets them share."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, new_id
from face_messages.message import TOPIC
from tests.support.fake_broker import FakeBroker
from tests.support.parts import SendingSide
from tests.support.programs import BUCKET, Program, saver
from tests.support.waiting import at_least, eventually

PNG = b"\x89PNG\r\n\x1a\n"


class Camera(threading.Thread):
    """Faces at a steady pace, each another one, until it is stopped."""

    def __init__(self, edge: SendingSide, *, rate: float) -> None:
        super().__init__(name="camera", daemon=True)
        self._edge = edge
        self._pause = 1 / rate
        self._stop_asked = threading.Event()
        self.pictures: list[bytes] = []

    def run(self) -> None:
        while not self._stop_asked.wait(self._pause):
            event = FaceEvent(new_id(), "tx2", "cam0", datetime.now(UTC), frame=len(self.pictures))
            picture = PNG + event.id.encode()
            self.pictures.append(picture)
            self._edge.outbox.put(event.id.encode(), event.to_message(TOPIC, picture), lambda: None)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


@pytest.fixture
def savers(tmp_path: Path, s3: S3Server, broker: Mosquitto) -> list[Program]:
    """Four members of one group on one host, not started."""
    members = []
    for name in "abcd":
        (tmp_path / name).mkdir()
        members.append(saver(tmp_path / name, broker.url, s3, SAVER_GROUP="savers", SAVER_ID=name))
    return members


def join(member: Program) -> None:
    """Starts a member, and returns when it has stored something."""
    member.start()
    at_least(lambda: member.figure("objects_stored_total"), 1)


def test_savers_leave_for_good_and_join_while_faces_flow(
    savers: list[Program], broker: Mosquitto, s3: S3Server, tmp_path: Path
) -> None:
    """One dies with a window of faces in hand, another in mid-flow, neither comes back: each face is stored once."""
    hanging, killed, staying, joining = savers
    try:
        with SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(1.0, 1.5)) as edge:
            camera = Camera(edge, rate=60)
            camera.start()
            for member in (hanging, killed, staying):
                join(member)
            hanging.pause()
            stored_before = len(s3.objects(BUCKET))
            at_least(lambda: len(s3.objects(BUCKET)), stored_before + 60)
            # What the broker has given to the one that stands still cannot have been confirmed.
            eventually(lambda: edge.outbox.oldest_age() > 1)
            hanging.kill()
            killed.kill()
            join(joining)
            camera.stop()
            eventually(lambda: edge.outbox.confirmed == len(camera.pictures), within=60)
            assert edge.sender.resent > 0
        stored = [path.read_bytes() for path in s3.objects(BUCKET).values()]
        assert Counter(stored) == Counter(camera.pictures)
        # They have names of their own: none has thrown another out.
        assert not any("lost the broker" in member.log_text() for member in savers)
    finally:
        for member in savers:
            member.kill()


def test_a_broker_without_shared_subscriptions_is_refused_by_a_group(tmp_path: Path) -> None:
    """Such a broker may grant the subscription and deliver nothing: it is one clear line, and tried again."""
    connack = bytes.fromhex("20 05 00 00 02 2a 00")  # SharedSubscriptionAvailable = 0
    with (
        FakeBroker(connack) as fake,
        saver(tmp_path, fake.url, "http://127.0.0.1:9", SAVER_GROUP="savers") as program,
    ):
        line = program.expect_line("does not support shared subscriptions")
        assert "leave SAVER_GROUP empty" in line
        eventually(lambda: fake.connections >= 2)
        assert fake.client().recv(65536) == b"", "it subscribed all the same"
        assert program.figure("cloud_broker_up") == 0
        assert program.log_text().count("shared subscriptions") == 1


def test_a_name_within_a_group_wants_a_group(tmp_path: Path) -> None:
    """Savers that have names but no group would each be given everything."""
    program = saver(tmp_path, "mqtt://127.0.0.1:9", "http://127.0.0.1:9", SAVER_ID="a")
    program.start()
    assert program.wait(20) == 2
    assert "SAVER_ID: names a member of a group; set SAVER_GROUP" in program.log_text()
