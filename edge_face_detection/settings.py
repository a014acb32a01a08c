"""The detector's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from face_messages.settings import MqttSettings, MqttUrl, Name, OutboxSettings


class DetectorSettings(MqttSettings, OutboxSettings):
    """What `edge_face_detection` can be told."""

    video_source: str = Field(
        "0",
        min_length=1,
        description="a camera's number or device (0, /dev/video0), a video file, a folder of pictures,"
        " or an rtsp:// or http:// URL",
    )
    video_realtime: bool = Field(
        True, description="a file plays at its own pace, as a camera would; false: as fast as it goes, every frame"
    )
    video_loop: bool = Field(False, description="a file begins again when it has come to its end")
    edge_id: Name = Field(description="name of this edge device")
    camera_id: Name = Field("camera0", description="name of this camera, unique at its edge")
    mqtt_url: MqttUrl = Field(description="the edge broker, such as mqtt://edge_mqtt_broker:1883")
    detector: Literal["haar", "yunet"] = Field(
        "haar",
        description="how faces are found: haar, OpenCV's cascade frontalface_alt2; yunet, a network, see YUNET_MODEL",
    )
    yunet_model: Path | None = Field(
        None, description="the file face_detection_yunet_2023mar.onnx of OpenCV Zoo, for DETECTOR=yunet"
    )
    detection_max_side: int = Field(
        640, ge=64, le=16384, description="larger frames are shrunk to this largest side for detection, in pixels"
    )
    min_face_size: int = Field(
        40, ge=1, le=16384, description="smaller faces are passed over; side of the face's box in the frame, in pixels"
    )
    face_margin: float = Field(
        0.1, ge=0, le=2, description="what is cut out around a face's box, as a fraction of its sides"
    )
    min_sharpness: float = Field(
        0,
        ge=0,
        lt=1,
        description="more blurred faces are passed over; from 0, which takes all, to 1; in focus is about 0.4",
    )
    face_selection: Literal["all", "best"] = Field(
        "all",
        description="which faces are published: all, every face of every frame; best, the best picture of each track",
    )
    best_seconds: float = Field(
        60, gt=0, description="how often best publishes a face that stays in view, in seconds; besides when it goes"
    )
    drain_seconds: float = Field(
        30, ge=0, description="how long the outbox may drain when a file has come to its end, in seconds"
    )

    @property
    def client_id(self) -> str:
        return f"{self.edge_id}:{self.camera_id}"
