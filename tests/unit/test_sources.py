"""What VIDEO_SOURCE may name, and what is refused."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.frame import SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.source import Source


def _open(video_source: str) -> Source:
    return open_source(video_source, realtime=False, loop=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of video."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("video_source", "description"),
    [
        ("0", "/dev/video0"),
        ("07", "/dev/video7"),
        ("/dev/video99", "/dev/video99"),
        ("/dev/v4l/by-id/usb-Camera-video-index0", "/dev/v4l/by-id/usb-Camera-video-index0"),
        ("/dev/null", "/dev/null"),
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("HTTPS://camera:8443/video.mjpg", "HTTPS://camera:8443/video.mjpg"),
    ],
)
def test_numbers_devices_and_urls_are_cameras(video_source: str, description: str) -> None:
    """They need not be there yet."""
    source = _open(video_source)
    assert source.live
    assert not source.is_up
    assert source.description == description


@pytest.mark.parametrize(
    "video_source",
    [
        "ftp://host/a.mp4",
        "file:///etc/passwd",
        "tcp://host:80",
        "rtmp://host/a",
        "concat://a",
        "http://",
        "rtsp:camera/stream",
        "http:/camera/stream",
        "rtsp://camera:99999/",
        "http://[::1/",
        "http://camera/a b",
        "http://camera/\n2026-11-23 INFO all is well",
    ],
)
def test_urls_that_cannot_be_read_are_refused(video_source: str) -> None:
    with pytest.raises(SourceError) as refused:
        _open(video_source)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "video_source",
    [
        "",
        "-1",
        "12345",
        "no/such/file.mp4",
        "concat:/etc/passwd|/etc/hosts",
        "file:/etc/passwd",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "videotestsrc ! appsink",
        "a\0b",
        "a\nb",
        "\udcff.mp4",
        "x" * 5000,
    ],
)
def test_what_is_nothing_of_the_kind_is_refused(video_source: str) -> None:
    """Names that FFmpeg or GStreamer would take for a protocol or a pipeline never reach them."""
    with pytest.raises(SourceError) as refused:
        _open(video_source)
    assert "\n" not in str(refused.value)


def test_the_refusal_of_a_missing_file_says_what_can_be_given() -> None:
    with pytest.raises(SourceError, match=r"no/such/file\.mp4 does not exist: give .*/dev/video0.*rtsp://"):
        _open("no/such/file.mp4")


@pytest.mark.parametrize(
    "name", ["a:b.avi", "concat:a.avi", "file:a.avi", "100%d.avi", "%03d.avi", "a ! b.avi", "-i.avi", "clip"]
)
def test_odd_file_names_are_files(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(_open(name).frames())) == 3


@pytest.mark.parametrize("name", ["0.avi", "clip.avi"])
def test_a_recording_is_not_live(clip: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(clip, tmp_path / name)
    source = _open(str(tmp_path / name))
    assert not source.live
    assert source.description == str(tmp_path / name)


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(SourceError, match="neither a file, a folder nor a camera"):
        _open(str(tmp_path / "pipe.avi"))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.avi").symlink_to("a.avi")
    with pytest.raises(SourceError, match="Too many levels of symbolic links"):
        _open(str(tmp_path / "a.avi"))


def _settings(**settings: object) -> DetectorSettings:
    return DetectorSettings.model_validate({"edge_id": "tx2", "mqtt_url": "mqtt://broker", **settings})


def test_what_a_camera_is_asked_for_can_be_said() -> None:
    assert _settings().video_size_pixels == (640, 480)
    assert _settings(video_size="1280x720").video_size_pixels == (1280, 720)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("video_size", ["1280", "1280x", "0x720", "-1x720", "1280x720x3", "1280 x 720", "100000x720", "640x480\n"]),
        ("video_fps", ["0", "-5", "nan", "inf", "1001"]),
        ("stall_seconds", ["-1", "nan", "inf", "86401"]),
    ],
)
def test_what_no_camera_can_be_asked_for_is_refused(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(ValidationError, match=name):
            _settings(**{name: value})
