"""Settings of edge_face_detection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from edge_face_detection.pictures.mask import Mask
from face_messages.service.settings import MqttSettings, MqttUrl, Name, OutboxSettings


def _check_mask(text: str) -> str:
    Mask(text)
    return text


def _check_size(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise ValueError("must be width x height in pixels, such as 1280x720")
    return text


def _check_turn(value: object) -> object:
    if str(value).strip() not in ("0", "90", "180", "270"):
        raise ValueError("must be 0, 90, 180 or 270")
    return value


class DetectorSettings(MqttSettings, OutboxSettings):
    video_source: SecretStr = Field(
        SecretStr("0"),
        min_length=1,
        description="a camera's number or device (0, /dev/video0), a video file, a folder of pictures,"
        " or an rtsp:// or http:// URL",
    )
    video_realtime: bool = Field(
        True, description="a file plays at its own pace, as a camera would; false: as fast as it goes, every frame"
    )
    video_loop: bool = Field(False, description="a file begins again when it has come to its end")
    video_size: Annotated[str, AfterValidator(_check_size)] = Field(
        "640x480", description="what a USB camera is asked for, width x height in pixels; it may choose otherwise"
    )
    video_fps: float = Field(
        30, gt=0, le=1000, description="what a USB camera is asked for, frames a second; it may choose otherwise"
    )
    video_rotate: Annotated[int, BeforeValidator(_check_turn)] = Field(
        0,
        description="degrees clockwise by which each picture is turned, for a camera on its side or upside down:"
        " 0, 90, 180 or 270",
    )
    rtsp_transport: Literal["auto", "tcp", "udp"] = Field(
        "auto", description="how the video of an rtsp:// camera comes: tcp, udp, or auto, which tries tcp and then udp"
    )
    snapshot_seconds: float = Field(
        1,
        ge=0.05,
        le=86400,
        allow_inf_nan=False,
        description="how often a URL is asked that gives one picture at a time, in seconds",
    )
    stall_seconds: float = Field(
        10,
        ge=0,
        le=86400,
        allow_inf_nan=False,
        description="a camera is opened anew when it gives no new frame, or only the very same one, for this long,"
        " in seconds; 0 = never",
    )
    edge_id: Name = Field(description="name of this edge device")
    camera_id: Name = Field("camera0", description="name of this camera, unique at its edge")
    mqtt_url: MqttUrl = Field(description="the edge broker, such as mqtt://edge_mqtt_broker:1883")
    detector: Literal["haar", "yunet"] = Field(
        "haar",
        description="how faces are found: haar, OpenCV's cascades; yunet, a network, see YUNET_MODEL",
    )
    yunet_model: Path | None = Field(
        None, description="the file face_detection_yunet_2023mar.onnx of OpenCV Zoo, for DETECTOR=yunet"
    )
    detection_max_side: int = Field(
        640,
        ge=64,
        le=16384,
        description="larger frames are shrunk to this largest side for detection, in pixels; a face that then has"
        " less than 20 pixels (haar) or 11 (yunet) is not found. Pictures that stand alone, and places that have"
        " changed, are searched at up to three times that",
    )
    min_face_size: int = Field(
        40,
        ge=1,
        le=16384,
        description="smaller faces are passed over; side of a square as large as the face's box in the frame,"
        " in pixels",
    )
    face_margin: float = Field(
        0.1,
        ge=0,
        le=2,
        description="part of the picture that is cut out around a face's box, as a fraction of its sides",
    )
    min_sharpness: float = Field(
        0,
        ge=0,
        lt=1,
        description="more blurred faces are passed over; from 0, which takes all, to 1; in focus is about 0.4",
    )
    privacy_mask: Annotated[str, AfterValidator(_check_mask)] = Field(
        "",
        description="parts of the picture that are painted over before anything looks at it: polygons as fractions of"
        " its width and height, such as 0,0 0.5,0 0.5,1 0,1; 0.8,0 1,0 1,0.3",
    )
    face_selection: Literal["all", "best"] = Field(
        "all",
        description="which faces are published: all, every face of every frame; best, the best picture of each track",
    )
    best_seconds: float = Field(
        600, gt=0, description="how often best publishes a face that stays in view, in seconds; besides when it goes"
    )
    preview: bool = Field(
        False,
        description="a page for aiming the camera and choosing settings by eye, on METRICS_PORT (9100 if that is 0);"
        " its address, which holds a key, is in the log",
    )
    drain_seconds: float = Field(
        30, ge=0, description="how long the outbox may drain when a file has come to its end, in seconds"
    )

    @property
    def video_size_pixels(self) -> tuple[int, int]:
        width, height = self.video_size.split("x")
        return int(width), int(height)

    @property
    def client_id(self) -> str:
        return f"{self.edge_id}:{self.camera_id}"
