"""The detector as a program with a USB camera: faces, a pulled plug, and an operator's pause."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dev.stack.clip import PICTURE
from dev.stack.mosquitto import Mosquitto
from face_messages.message import TOPIC
from tests.camera.conftest import MakeCamera
from tests.camera.usb_camera import is_open
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import Program
from tests.support.waiting import at_least, eventually

# What is emulated takes its time.
WITHIN = 60.0


def test_faces_come_through_a_pulled_plug_and_a_pause(
    make_camera: MakeCamera, tmp_path: Path, broker: Mosquitto
) -> None:
    """From the camera's JPEGs to PNGs at the broker; and back by itself each time, as its figures tell."""
    picture = cv2.resize(np.asarray(cv2.imread(str(PICTURE)), np.uint8), (480, 480))
    # Moved about, lest they be the same picture over and over.
    shifted = [cv2.copyMakeBorder(picture, 0, 0, 70 + x, 90 - x, cv2.BORDER_REPLICATE) for x in range(8)]
    camera = make_camera({(640, 480): [cv2.imencode(".jpg", image)[1].tobytes() for image in shifted]}, rates=[10])
    device = camera.plug_in()
    settings = {"VIDEO_SOURCE": str(camera.by_id), "EDGE_ID": "tx2", "MQTT_URL": broker.url, "VIDEO_FPS": "10"}
    outbox = {"OUTBOX_PATH": str(tmp_path / "detector.db")}
    with (
        listening(broker.port, TOPIC) as faces,
        plain_client(broker.port) as operator,
        Program("edge_face_detection", tmp_path, settings | outbox) as program,
    ):
        eventually(lambda: faces.messages, within=WITHIN, what=program.log_tail)
        assert cv2.imdecode(np.frombuffer(faces.messages[0].payload, np.uint8), cv2.IMREAD_COLOR) is not None

        camera.unplug()
        program.expect("source_up", 0, within=WITHIN)
        device = camera.plug_in()
        program.expect("source_up", 1, within=WITHIN)
        program.expect("source_reconnects_total", 1)
        at_least(lambda: len(faces.messages), len(faces.messages) + 1, within=WITHIN)

        publish(operator, "facedetection_control/tx2/camera0", b"pause", retain=True)
        program.expect("paused", 1, within=WITHIN)
        eventually(lambda: not is_open(device, program.pid) and not camera.is_streaming, within=WITHIN)
        publish(operator, "facedetection_control/tx2/camera0", b"resume", retain=True)
        program.expect("source_up", 1, within=WITHIN)
        at_least(lambda: len(faces.messages), len(faces.messages) + 1, within=WITHIN)
