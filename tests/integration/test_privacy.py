"""What an operator hides from a detector, or switches off, and what the forwarder passes on of that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from dev.stack.clip import PICTURE
from dev.stack.mosquitto import Mosquitto
from edge_face_detection.sources.frame import Image
from face_messages import FaceEvent, Message
from face_messages.message import TOPIC
from tests.conftest import StartBroker
from tests.support.mjpeg import MjpegServer, jpeg
from tests.support.parts import TakingSide
from tests.support.plain import Listener, listening, plain_client, publish
from tests.support.programs import Program, forwarder
from tests.support.scenes import scene
from tests.support.waiting import at_least, eventually, never

CONTROL = "facedetection_control/tx2/camera0"


def detector(folder: Path, broker: Mosquitto, **settings: str) -> Program:
    """Sees a face all the time; not started."""
    base = {"EDGE_ID": "tx2", "MQTT_URL": broker.url, "OUTBOX_PATH": str(folder / "detector.db")}
    video = {"VIDEO_SOURCE": str(PICTURE), "VIDEO_LOOP": "true"}
    return Program("edge_face_detection", folder, base | video | settings)


def say(broker: Mosquitto, word: bytes, *, topic: str = CONTROL) -> None:
    with plain_client(broker.port) as client:
        publish(client, topic, word, retain=True)


def captured(keeper: TakingSide) -> list[datetime]:
    """When the faces that came were captured."""
    return [FaceEvent.from_message(message).time for message in list(keeper.messages)]


def no_face_is_captured_later_than_a_second_after(said_at: datetime, keeper: TakingSide, program: Program) -> None:
    """What was captured before is still sent."""
    program.expect("paused", 1)
    program.expect("outbox_messages", 0)
    never(lambda: captured(keeper)[-1] > said_at + timedelta(seconds=1), during=2.0)


def test_a_pause_stops_capturing_within_a_second_and_resume_goes_on(tmp_path: Path, broker: Mosquitto) -> None:
    """Told in the log, in the figures and in /healthz, which stays well."""
    with TakingSide(broker.url) as keeper, detector(tmp_path, broker) as program:
        eventually(lambda: keeper.messages)
        said_at = datetime.now(UTC)
        say(broker, b"pause")
        no_face_is_captured_later_than_a_second_after(said_at, keeper, program)
        status, health = program.ask("/healthz")
        assert status == 200
        assert '"source": "paused"' in health
        program.expect_line("paused, as was said")
        count = len(keeper.messages)
        say(broker, b"resume")
        at_least(lambda: len(keeper.messages), count + 1)
        program.expect("paused", 0)
        tracks = {dict(message.user_properties)["track"] for message in keeper.messages}
        assert len(tracks) == 2


def test_a_camera_is_let_go_within_a_second_and_opened_again(tmp_path: Path, broker: Mosquitto) -> None:
    """That it is away then is no outage."""
    picture = np.asarray(cv2.imread(str(PICTURE)), np.uint8)
    with (
        MjpegServer() as camera,
        TakingSide(broker.url) as keeper,
        detector(tmp_path, broker, VIDEO_SOURCE=camera.url) as program,
    ):
        camera.show([jpeg(np.roll(picture, shift, axis=1)) for shift in range(10)])
        eventually(lambda: keeper.messages)
        assert camera.clients == 1
        said_at = datetime.now(UTC)
        say(broker, b"pause")
        eventually(lambda: camera.clients == 0)
        no_face_is_captured_later_than_a_second_after(said_at, keeper, program)
        assert camera.clients == 0
        count = len(keeper.messages)
        say(broker, b"resume")
        eventually(lambda: camera.clients == 1)
        at_least(lambda: len(keeper.messages), count + 1)
        assert "is down" not in program.log_text()


def test_a_restart_while_paused_captures_nothing_though_the_broker_is_away(tmp_path: Path, broker: Mosquitto) -> None:
    """Nor when it is back and has forgotten the message; until somebody says resume."""
    program = detector(tmp_path, broker)
    with program:
        program.expect("edge_broker_up", 1)
        say(broker, b"pause")
        eventually((tmp_path / "detector.db.paused").exists)
        program.kill()
        broker.kill()
        program.start()
        program.expect_line("paused, as before the restart")
        program.expect_line("cannot use the broker")
        never(lambda: program.figure("frames_read_total") > 1, during=1.5)
        broker.start()
        program.expect("edge_broker_up", 1)
        never(lambda: program.figure("frames_processed_total") > 0, during=1.0)
        say(broker, b"resume")
        eventually(lambda: program.figure("frames_processed_total") > 1)


def test_a_pause_outlives_the_outbox(tmp_path: Path, broker: Mosquitto) -> None:
    """The broker says it again to a detector whose disk was lost, though it has heard it."""
    with detector(tmp_path, broker) as program:
        say(broker, b"pause")
        program.expect("paused", 1)
    with detector(tmp_path, broker, OUTBOX_PATH=str(tmp_path / "new.db")) as program:
        program.expect("paused", 1)
        assert program.figure("frames_processed_total") == 0


def test_a_pause_that_was_said_while_it_was_off_holds_from_the_start_on(tmp_path: Path, broker: Mosquitto) -> None:
    """The camera is not even opened; a cleared message ends it."""
    say(broker, b"pause")
    with MjpegServer() as camera, detector(tmp_path, broker, VIDEO_SOURCE=camera.url) as program:
        program.expect("paused", 1)
        never(lambda: camera.came, during=1.5)
        say(broker, b"")
        eventually(lambda: camera.came)


def test_a_broker_that_is_away_keeps_nobody_from_capturing(tmp_path: Path, broker: Mosquitto) -> None:
    """Where nobody has said pause."""
    broker.kill()
    with detector(tmp_path, broker) as program:
        eventually(lambda: program.figure("outbox_messages") > 1)


def test_a_pause_is_of_one_camera_alone(tmp_path: Path, broker: Mosquitto) -> None:
    with detector(tmp_path, broker) as program:
        program.expect("edge_broker_up", 1)
        for topic in ("facedetection_control/tx2/camera1", "facedetection_control/tx2", f"{CONTROL}/below"):
            say(broker, b"pause", topic=topic)
        never(lambda: program.figure("paused") == 1, during=0.5)


def test_a_paused_program_ends_in_order(tmp_path: Path, broker: Mosquitto) -> None:
    with detector(tmp_path, broker, FACE_SELECTION="best") as program, TakingSide(broker.url) as keeper:
        eventually(lambda: program.figure("frames_processed_total") > 10)
        say(broker, b"pause")
        program.expect("paused", 1)
        assert program.terminate() == 0
        assert "stopped: " in program.log_text()
        program.start()
        # The best picture of who was in view when the pause came.
        eventually(lambda: keeper.messages)


def test_no_pixel_that_is_masked_is_published(tmp_path: Path, broker: Mosquitto) -> None:
    """A face beside the mask is cut out with a wide margin; one in the mask is not found."""
    video = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(video, cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for number in range(5):
        writer.write(scene([(200, 240, 120), (450, 240, 120)], size=(640, 480), number=number))
    writer.release()
    settings = {"VIDEO_SOURCE": video, "VIDEO_LOOP": "false", "VIDEO_REALTIME": "false", "FACE_MARGIN": "2"}
    masked_parts: dict[str, list[Image]] = {}
    for mask in ("", "0,0 0.5,0 0.5,1 0,1"):
        folder = tmp_path / f"detector{len(mask)}"
        folder.mkdir()
        with TakingSide(broker.url) as keeper, detector(folder, broker, PRIVACY_MASK=mask, **settings) as program:
            assert program.wait(20) == 0
            masked_parts[mask] = [left_half_in(message) for message in keeper.messages]
    with_mask, without = masked_parts.pop("0,0 0.5,0 0.5,1 0,1"), masked_parts[""]
    assert len(without) == 10
    assert len(with_mask) == 5
    assert all(np.unique(part).size > 20 for part in without)
    assert all(np.unique(part).tolist() == [128] for part in with_mask)


def left_half_in(message: Message) -> Image:
    """What the picture of a face shows of the left half of a frame 640 pixels wide, cut out with a margin of 2."""
    box = FaceEvent.from_message(message).facebox
    assert box is not None
    picture = cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR)
    part = np.asarray(picture, np.uint8)[:, : 320 - max(0, box[0] - 2 * box[2])]
    assert part.shape[1] > 80
    return part


# -- from the cloud -----------------------------------------------------------------------------


@pytest.fixture
def cloud(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def relay(tmp_path: Path, broker: Mosquitto, cloud: Mosquitto) -> Iterator[Program]:
    """A forwarder between the two, connected to both."""
    with forwarder(tmp_path, broker.url, cloud.url) as program:
        program.expect("edge_broker_up", 1)
        program.expect("cloud_broker_up", 1)
        yield program


def retained(broker: Mosquitto) -> list[bytes]:
    """What a new subscriber finds there."""
    with plain_client(broker.port) as client:
        Listener(client, "behind it")
        listener = Listener(client, CONTROL)
        publish(client, "behind it", b"")
        eventually(lambda: listener.last_on("behind it") is not None)
        return [bytes(message.payload) for message in listener.messages if message.topic == CONTROL]


def test_what_is_said_in_the_cloud_is_said_at_the_edge(relay: Program, broker: Mosquitto, cloud: Mosquitto) -> None:
    """Retained, in order; a cleared message is cleared there too."""
    with listening(broker.port, "facedetection_control/#") as edge:
        for word in (b"pause", b"resume", b"pause"):
            say(cloud, word)
        eventually(lambda: edge.payloads == [b"pause", b"resume", b"pause"])
        assert retained(broker) == [b"pause"]
        say(cloud, b"")
        eventually(lambda: edge.payloads[3:] == [b""])
        assert retained(broker) == []
    assert relay.log_text().count("passed on from the cloud") == 4


def test_what_was_said_before_the_forwarder_came_is_passed_on(
    tmp_path: Path, broker: Mosquitto, cloud: Mosquitto
) -> None:
    say(cloud, b"pause")
    with forwarder(tmp_path, broker.url, cloud.url):
        eventually(lambda: retained(broker) == [b"pause"])


def test_what_is_said_while_the_edge_broker_is_away_is_passed_on_when_it_is_back(
    relay: Program, broker: Mosquitto, cloud: Mosquitto
) -> None:
    """Also when the forwarder is killed in between: until then it is still with the cloud's broker."""
    broker.kill()
    relay.expect("edge_broker_up", 0)
    say(cloud, b"pause")
    relay.kill()
    relay.start()
    relay.expect("cloud_broker_up", 1)
    broker.start()
    eventually(lambda: retained(broker) == [b"pause"])


def test_what_the_edge_broker_took_to_its_grave_is_said_again(
    relay: Program, broker: Mosquitto, cloud: Mosquitto
) -> None:
    broker.pause()
    say(cloud, b"pause")
    relay.expect_line("passed on from the cloud")
    broker.kill()
    broker.start()
    eventually(lambda: retained(broker) == [b"pause"])


def test_the_last_word_counts_wherever_it_was_said(relay: Program, broker: Mosquitto, cloud: Mosquitto) -> None:
    """A restart of the forwarder or of the edge's connection does not repeat what the cloud has said long ago."""
    say(cloud, b"pause")
    eventually(lambda: retained(broker) == [b"pause"])
    say(broker, b"resume")
    relay.restart()
    relay.expect("edge_broker_up", 1)
    relay.expect("cloud_broker_up", 1)
    never(lambda: retained(broker) != [b"resume"], during=1.0)
    say(cloud, b"pause")
    eventually(lambda: retained(broker) == [b"pause"])


def test_nothing_goes_the_other_way_nor_to_others(relay: Program, broker: Mosquitto, cloud: Mosquitto) -> None:
    """The edge has no say in the cloud, and other edges' cameras and other topics are not its business."""
    with listening(cloud.port, "#") as above, listening(broker.port, "facedetection_control/#") as below:
        say(broker, b"pause")
        say(cloud, b"pause", topic="facedetection_control/tx20/camera0")
        say(cloud, b"pause", topic="facedetection_control/tx2")
        say(cloud, b"pause", topic="facedetection_control/tx2/a/b")
        say(cloud, b"x" * 5000)
        relay.expect_line("was refused")
        say(cloud, b"resume")
        eventually(lambda: below.payloads == [b"pause", b"resume"])
        topics = {message.topic for message in above.messages if not message.topic.startswith("facedetection_control")}
    assert topics <= {"facedetection_status/tx2", "facedetection_status/tx2/health"}


def test_faces_and_control_share_a_connection(
    tmp_path: Path, relay: Program, broker: Mosquitto, cloud: Mosquitto
) -> None:
    """A camera behind the forwarder is paused from the cloud, and its faces arrive there."""
    with TakingSide(cloud.url) as keeper, detector(tmp_path, broker) as program:
        eventually(lambda: keeper.messages)
        said_at = datetime.now(UTC)
        say(cloud, b"pause")
        no_face_is_captured_later_than_a_second_after(said_at, keeper, program)
        assert {message.topic for message in keeper.messages} == {TOPIC}
        relay.expect("outbox_messages", 0)


@pytest.mark.parametrize("decoded", [False, True])
def test_faces_of_a_camera_on_its_side_are_cut_from_the_turned_picture(
    tmp_path: Path, broker: Mosquitto, *, decoded: bool
) -> None:
    """Size, box and crop are the turned picture's, and so is the mask, which hides the other face."""
    upright = scene([(80, 120, 80), (240, 120, 80)])
    on_its_side = np.asarray(cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8)
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), on_its_side)
    with MjpegServer() as camera:
        camera.show([jpeg(np.roll(on_its_side, shift, axis=0)) for shift in range(5)])
        settings = {
            "VIDEO_SOURCE": str(tmp_path / "pictures") if decoded else camera.url,
            "VIDEO_ROTATE": "90",
            "PRIVACY_MASK": "0.5,0 1,0 1,1 0.5,1",
        }
        with TakingSide(broker.url) as keeper, detector(tmp_path, broker, **settings):
            at_least(lambda: len(keeper.messages), 5)
    for message in list(keeper.messages):
        event = FaceEvent.from_message(message)
        assert event.framesize == (320, 240)
        assert event.facebox is not None
        x, y, width, height = event.facebox
        assert x < 80 < x + width < 170
        assert y < 120 < y + height
        crop = np.asarray(cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR))
        assert np.abs(crop.mean() - upright[y : y + height, x : x + width].mean()) < 15
