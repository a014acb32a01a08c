"""Small outboxes and a cloud that is gone: who stops taking, who says so, and what becomes of the faces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.clip import make_clip
from dev.stack.figures import differences, stored_faces
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from edge_face_detection.detection import WAITING_FACES
from tests.conftest import StartBroker
from tests.support.outage import HASTY, feed
from tests.support.parts import MIB, SendingSide, TakingSide
from tests.support.programs import BUCKET, Program, forwarder, saver
from tests.support.waiting import eventually, never


@pytest.fixture
def edge(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def cloud(tmp_path: Path, start_broker: StartBroker, s3: S3Server) -> Iterator[Mosquitto]:
    """The cloud's broker, with a saver behind it; not running."""
    broker = start_broker()
    broker.kill()
    with saver(tmp_path, broker.url, s3, **HASTY):
        yield broker


def detector(folder: Path, edge: Mosquitto, clip: Path) -> Program:
    """As fast as it can, each frame; ends when all its faces are confirmed."""
    settings = {"VIDEO_SOURCE": str(clip), "VIDEO_REALTIME": "false", "EDGE_ID": "tx2", "MQTT_URL": edge.url}
    outbox = {"OUTBOX_PATH": str(folder / "detector.db"), "OUTBOX_MAX_BYTES": str(MIB), "DRAIN_SECONDS": "60"}
    return Program("edge_face_detection", folder, settings | outbox)


def until_it_takes_no_more_frames(program: Program) -> float:
    """How many it has taken by then."""

    def is_stuck() -> bool:
        kept = program.figure("outbox_confirmed_total") + program.figure("outbox_messages")
        return program.figure("outbox_refusing") == 1 and program.figure("faces_total") - kept == WAITING_FACES

    eventually(is_stuck, within=60, what=lambda: f"the detector goes on:\n{program.log_tail()}")
    taken = program.figure("frames_processed_total")
    never(lambda: program.figure("frames_processed_total") != taken, during=1.0)
    return taken


def test_what_is_full_stops_taking_up_to_the_camera_and_nothing_is_lost(
    tmp_path: Path, edge: Mosquitto, cloud: Mosquitto, s3: S3Server
) -> None:
    """Forwarder, then detector, then frames; each says so once. Then all that was found arrives, each face once."""
    frames = make_clip(tmp_path / "clip.avi", seconds=10, fps=20)
    forwarding = forwarder(tmp_path, edge.url, cloud.url, OUTBOX_MAX_BYTES=str(MIB), **HASTY)
    detecting = detector(tmp_path, edge, tmp_path / "clip.avi")
    with forwarding, detecting:
        forwarding.expect("outbox_refusing", 1, within=60)
        taken = until_it_takes_no_more_frames(detecting)
        assert taken < frames
        assert detecting.figure("outbox_confirmed_total") == forwarding.figure("outbox_messages") > 10
        for program in (forwarding, detecting):
            assert program.log_text().count("the outbox is full") == 1
        cloud.start()
        assert detecting.wait(60) == 0, detecting.describe_end()
        forwarding.expect("outbox_messages", 0)
    assert (found := re.search(r"stopped: .* faces=(\d+) confirmed=(\d+) waiting=0", detecting.log_text()))
    objects = s3.objects(BUCKET)
    assert int(found[1]) == int(found[2]) == len(objects) > 100
    assert not differences({face.id for face in stored_faces(objects)}, objects)
    for program in (forwarding, detecting):
        text = program.log_text()
        assert text.count("the outbox is full") == text.count("the outbox takes messages again")


def test_a_detector_that_is_stopped_while_full_counts_what_it_could_not_keep(tmp_path: Path, edge: Mosquitto) -> None:
    """What its outbox held is sent after the next start, and no less."""
    make_clip(tmp_path / "clip.avi", seconds=10, fps=20)
    make_clip(tmp_path / "nobody.avi", seconds=1, fps=5)
    with detector(tmp_path, edge, tmp_path / "clip.avi") as detecting:
        until_it_takes_no_more_frames(detecting)
        faces, kept = int(detecting.figure("faces_total")), int(detecting.figure("outbox_messages"))
        assert detecting.terminate() == 0
        assert f"{faces - kept} faces that were found had no room" in detecting.log_text()
        assert f"faces={faces} confirmed=0 waiting={kept}" in detecting.log_text()
    with TakingSide(edge.url) as keeper, detector(tmp_path, edge, tmp_path / "nobody.avi") as detecting:
        assert detecting.wait(30) == 0
    assert len({message.correlation_data for message in keeper.messages}) == kept > 10


def test_a_full_forwarder_that_overwrites_keeps_the_newest_and_counts_the_others(
    tmp_path: Path, edge: Mosquitto, cloud: Mosquitto, s3: S3Server
) -> None:
    """It never stops taking. Stored and overwritten are all that was produced."""
    small = {"OUTBOX_MAX_BYTES": str(2 * MIB), "OUTBOX_WHEN_FULL": "overwrite-oldest"}
    forwarding = forwarder(tmp_path, edge.url, cloud.url, **small, **HASTY)
    with forwarding, SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2-cam0") as producer:
        ids = feed(producer, 1000, size=10_000)
        overwritten = int(forwarding.figure("outbox_overwritten_total"))
        assert 0 < overwritten < 1000
        assert forwarding.figure("outbox_messages") == 1000 - overwritten
        assert forwarding.log_text().count("overwrite the oldest") == 1
        cloud.start()
        forwarding.expect("outbox_messages", 0)
        assert sorted(face.id for face in stored_faces(s3.objects(BUCKET))) == ids[overwritten:]
        assert forwarding.figure("outbox_overwritten_total") == overwritten
    text = forwarding.log_text()
    assert text.count("overwrite the oldest") == text.count("the outbox takes messages again") == 1
