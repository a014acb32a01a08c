"""A camera without JPEG whose driver fails in many ways."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.camera import vivid
from tests.camera.conftest import Watch
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _whole_again() -> Iterator[None]:
    yield
    vivid.set_control("Percentage of Dropped Buffers", 0)


def test_a_camera_without_jpeg_gives_decoded_frames(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """What it gives instead of Motion-JPEG is told, and its pictures are in colour."""
    caplog.set_level(logging.INFO, logger="edge_face_detection")
    frame = watch(vivid.device(), size=(640, 360), rate=25).next_frame()
    assert frame.size == (640, 360)
    assert frame._jpeg is None
    assert frame.image.shape == (360, 640, 3)
    # Colour bars, of which white and black are the outer ones.
    assert len({tuple(frame.image[40, x] // 100) for x in range(40, 640, 80)}) > 4
    assert "asked for MJPG 640x360 at 25, gives BGR3 640x360 at 25 frames/s" in caplog.text


@pytest.mark.parametrize("button", ["Disconnect", "Inject Fatal Streaming Error"])
def test_a_driver_that_gives_up_is_told_of_once_and_started_anew(
    watch: Watch, caplog: pytest.LogCaptureFixture, button: str
) -> None:
    """After errors that end a stream, the camera is opened again."""
    watched = watch(vivid.device())
    watched.next_frame()
    vivid.set_control(button)
    eventually(lambda: watched.source.reconnects == 1)
    watched.next_frame()
    assert caplog.text.count("is down") == 1


def test_a_camera_that_cannot_be_started_is_tried_again(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """As when the bus has no bandwidth for the moment."""
    vivid.set_control("Inject VIDIOC_STREAMON Error")
    watch(vivid.device()).next_frame()
    assert caplog.text.count("is down") == 1


def test_a_camera_that_drops_all_frames_is_opened_anew_until_it_gives_some(watch: Watch) -> None:
    """The driver of a sensor whose cable is loose waits for ever."""
    watched = watch(vivid.device())
    watched.next_frame()
    vivid.set_control("Percentage of Dropped Buffers", 100)
    eventually(lambda: watched.source.stalls >= 1)
    vivid.set_control("Percentage of Dropped Buffers", 0)
    watched.next_frame()
    eventually(lambda: watched.source.reconnects == 1)
