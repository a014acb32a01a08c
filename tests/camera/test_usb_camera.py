"""USB cameras through the kernel's own driver: Motion-JPEG as it comes, unplugged, replugged, stalled, busy, paused."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

import pytest

from tests.camera.conftest import GREYS, MakeCamera, Watch
from tests.camera.usb_camera import Pictures, UsbCamera, is_open
from tests.support.waiting import eventually, never

# What takes less than a second elsewhere may take so long in an emulated machine.
EMULATED_SECOND = 2.0

HOLD_AND_STREAM = """
import sys, cv2
capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_V4L2)
assert capture.read()[0]
print("streaming", flush=True)
while sys.stdin.readline():
    pass
"""


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="edge_face_detection")


def told(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if what in record.getMessage()]


def test_the_size_and_rate_asked_for_come_in_jpeg_as_the_camera_sent_it(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """A camera that can do as it is told does, its JPEGs are not touched on the way, and there is nothing to say."""
    watched = watch(camera.by_id, size=(1280, 720), rate=15)
    frame = watched.next_frame()
    size, rate = camera.chosen
    assert size == (1280, 720)
    assert rate == pytest.approx(15, abs=0.1)
    assert frame.size == (1280, 720)
    assert frame._jpeg is not None
    assert frame._jpeg.data.tobytes() in camera.pictures[1280, 720]
    assert min(abs(int(frame.image.mean()) - grey) for grey in GREYS) <= 1
    assert told(caplog, "asked for") == []


def test_what_the_camera_gives_instead_is_told_once(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """A camera that has neither the size nor the rate gives what it has, also after it was opened anew."""
    watched = watch(camera.by_id, size=(1920, 1080), rate=60)
    assert watched.next_frame().size == (1280, 720)
    watched.source.pause()
    eventually(lambda: not camera.is_streaming)
    watched.source.resume()
    eventually(lambda: camera.is_streaming)
    watched.next_frame()
    (message,) = told(caplog, "asked for")
    assert "asked for MJPG 1920x1080 at 60, gives MJPG 1280x720 at 30 frames/s" in message


def test_jpegs_without_huffman_tables_are_decoded(make_camera: MakeCamera, pictures: Pictures, watch: Watch) -> None:
    """Most webcams leave the tables out, as Motion-JPEG allows, and pad their frames with zeros."""
    bare = [_without_tables(jpeg) + bytes(100) for jpeg in pictures[640, 480]]
    camera = make_camera({(640, 480): bare})
    camera.plug_in()
    frame = watch(camera.by_id).next_frame()
    assert min(abs(int(frame.image.mean()) - grey) for grey in GREYS) <= 1


def test_a_damaged_frame_is_passed_over(
    make_camera: MakeCamera,
    pictures: Pictures,
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is no JPEG at all is counted, and the camera stays up."""
    camera = make_camera({(640, 480): [*pictures[640, 480], b"\x00" * 999]})
    camera.plug_in()
    watched = watch(camera.by_id)
    eventually(lambda: watched.source.frames_unreadable >= 3)
    watched.next_frame()
    assert watched.source.reconnects == 0
    assert told(caplog, "is down") == []


@pytest.mark.parametrize("another_number", [False, True])
def test_unplugged_it_is_told_once_and_replugged_it_is_back(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture, *, another_number: bool
) -> None:
    """By its link in /dev/v4l/by-id a camera is found again, whatever its number is now."""
    watched = watch(camera.by_id)
    watched.next_frame()
    device = camera.by_id.resolve()
    # Who has the old device open still keeps its number from being given to another.
    holder = os.open(device, os.O_RDWR) if another_number else -1
    try:
        camera.unplug()
        eventually(lambda: not watched.source.is_up)
        never(lambda: watched.source.is_up, during=1)
        assert len(told(caplog, "is down")) == 1
        assert (camera.plug_in() != device) == another_number
        watched.next_frame()
    finally:
        if another_number:
            os.close(holder)
    assert watched.source.reconnects == 1
    assert len(told(caplog, "is down")) == len(told(caplog, "is up after")) == 1


def test_unplugged_in_the_middle_of_a_stall_it_comes_back(camera: UsbCamera, watch: Watch) -> None:
    """A reader that waits for a frame when the plug is pulled does not wait for ever."""
    watched = watch(camera.by_id, stall_seconds=0)
    watched.next_frame()
    camera.gives_frames = False
    never(lambda: not watched.source.is_up, during=0.5)
    camera.unplug()
    eventually(lambda: not watched.source.is_up)
    camera.gives_frames = True
    camera.plug_in()
    watched.next_frame()


@pytest.mark.parametrize("how", ["gives nothing", "gives the same picture"])
def test_a_stall_is_told_once_and_overcome(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """A camera that streams on without a new picture is opened anew until there is one."""
    watched = watch(camera.by_id)
    watched.next_frame()
    if how == "gives nothing":
        camera.gives_frames = False
    else:
        camera.is_frozen = True
    eventually(lambda: watched.source.stalls >= 1)
    camera.gives_frames, camera.is_frozen = True, False
    watched.next_frame()
    eventually(lambda: watched.source.is_up and watched.source.reconnects == 1)
    (message,) = told(caplog, "is down")
    assert "STALL_SECONDS" in message
    assert len(told(caplog, "is up after")) == 1


def test_a_stalled_camera_does_not_hold_up_closing(camera: UsbCamera, watch: Watch) -> None:
    """SIGTERM is not to wait for a camera that gives nothing."""
    watched = watch(camera.by_id, stall_seconds=0)
    watched.next_frame()
    camera.gives_frames = False
    time.sleep(0.3)  # for the reader to wait within the driver, which cannot be seen
    begin = time.monotonic()
    watched.close()
    assert time.monotonic() - begin < EMULATED_SECOND


def test_a_camera_in_use_is_told_as_such_and_taken_when_it_is_free(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only one program can have a camera."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_STREAM, camera.by_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"streaming\n"
        watched = watch(camera.by_id)
        (message,) = eventually(lambda: told(caplog, "is down"))
        assert "another program" in message
        assert f"fuser -v {camera.by_id}" in message
        other.stdin.close()
    watched.next_frame()


def test_the_device_that_gives_no_pictures_is_told_from_the_one_that_does(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each USB camera has a second device, for metadata, that is easily taken for the camera."""
    number = int(camera.by_id.resolve().name.removeprefix("video"))
    watch(f"/dev/video{number + 1}")
    (message,) = eventually(lambda: told(caplog, "is down"))
    assert "gives no pictures: name another of its devices" in message


def test_paused_the_camera_is_let_go_and_resumed_it_gives_frames(
    camera: UsbCamera, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once nothing of this program has the camera open, its light is off, and that is no outage."""
    watched = watch(camera.by_id)
    watched.next_frame()
    device = camera.by_id.resolve()
    assert is_open(device, os.getpid())
    watched.source.pause()
    eventually(lambda: not is_open(device, os.getpid()) and not camera.is_streaming, within=EMULATED_SECOND)
    count = len(watched.frames)
    never(lambda: is_open(device, os.getpid()) or len(watched.frames) > count, during=1)
    watched.source.resume()
    watched.next_frame()
    assert watched.source.reconnects == 0
    assert told(caplog, "is down") == []


def test_a_stalled_camera_is_let_go_by_a_pause_too(camera: UsbCamera, watch: Watch) -> None:
    """The reader waits within the driver for a frame, but not for long."""
    watched = watch(camera.by_id, stall_seconds=0)
    watched.next_frame()
    camera.gives_frames = False
    device = camera.by_id.resolve()
    time.sleep(0.3)  # for the reader to wait within the driver, which cannot be seen
    watched.source.pause()
    eventually(lambda: not is_open(device, os.getpid()), within=1 + EMULATED_SECOND)


def _without_tables(jpeg: bytes) -> bytes:
    """The JPEG without its DHT segments (ITU-T T.81, B.2.4.2)."""
    at, kept = 2, [jpeg[:2]]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xC4:
            kept.append(jpeg[at:end])
        at = end
    return b"".join([*kept, jpeg[at:]])
