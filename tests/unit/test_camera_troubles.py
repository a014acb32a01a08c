"""Live cameras that stall, freeze, hang, send rubbish, or are paused: back by themselves, told of once, counted."""

import itertools
import logging
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_face_detection.sources import live
from edge_face_detection.sources.camera import LiveCapture
from edge_face_detection.sources.frame import Frame, Jpeg, SourceError, UnreadableFrameError
from edge_face_detection.sources.http_capture import HttpCapture
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.reading import UNDECODABLE_FRAMES
from edge_face_detection.sources.url_camera import UrlCamera
from face_messages.service.backoff import Backoff
from tests.support.mjpeg import MjpegServer, greys, jpeg, number_shown
from tests.support.waiting import at_least, eventually, never

STALL_SECONDS = 0.4


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "scale", 0.1)


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as server:
        yield server


@pytest.fixture
def source(server: MjpegServer) -> Iterator[LiveSource]:
    source = LiveSource(UrlCamera(server.url, timeout=STALL_SECONDS + 0.5), stall_seconds=STALL_SECONDS)
    yield source
    source.close()


class DeafCamera(UrlCamera):
    """Blocks for as long as there is no data, and cannot be told to end: as a driver may."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=0)

    def open(self) -> LiveCapture:
        capture = super().open()
        assert isinstance(capture, HttpCapture)
        capture.cancel = lambda: None  # type: ignore[method-assign] # that is the point
        return capture


@pytest.fixture
def hanging(server: MjpegServer) -> Iterator[LiveSource]:
    source = LiveSource(DeafCamera(server.url), stall_seconds=STALL_SECONDS)
    yield source
    server.kill()
    source.close()


def _levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records]


def test_a_camera_that_falls_silent_is_opened_anew(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, one line when it is back; counted as a stall and as a reconnect."""
    caplog.set_level(logging.INFO)
    frames = source.frames()
    next(frames)
    server.silent = True
    eventually(lambda: not source.is_up, within=STALL_SECONDS + 1)
    assert source.trouble is not None
    server.silent = False
    next(frames)
    eventually(lambda: source.is_up)
    assert (source.stalls, source.reconnects) == (1, 1)
    assert source.trouble is None
    assert _levels(caplog) == [logging.WARNING, logging.INFO]
    assert "no new frame for 0.4 s (STALL_SECONDS)" in caplog.text


def test_a_frozen_picture_is_doubted_ever_more_rarely(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    """It is opened anew, but where that does not help the picture may be the truth."""
    threading.Thread(target=lambda: [None for _ in source.frames()], daemon=True).start()
    at_least(lambda: source.frames_read, 5)
    server.show([greys()[7]])
    eventually(lambda: len(server.came) == 5)
    between = [after - before for before, after in itertools.pairwise(server.came)]
    assert all(gap > STALL_SECONDS * 2**doubts for doubts, gap in enumerate(between)), between
    assert source.stalls == 4
    assert "the very same picture for 0.4 s (STALL_SECONDS)" in caplog.text


def test_a_picture_that_moves_again_is_doubted_as_soon_as_ever(server: MjpegServer, source: LiveSource) -> None:
    threading.Thread(target=lambda: [None for _ in source.frames()], daemon=True).start()
    server.show([greys()[7]])
    eventually(lambda: len(server.came) == 4)
    server.show(greys())
    moving_since = time.monotonic()
    eventually(lambda: source.is_up and time.monotonic() - moving_since > 3 * STALL_SECONDS)
    server.show([greys()[7]])
    frozen_at = time.monotonic()
    eventually(lambda: len(server.came) == 5)
    assert server.came[-1] - frozen_at < 8 * STALL_SECONDS


def test_stalls_are_let_be_where_that_is_asked_for(server: MjpegServer) -> None:
    """With STALL_SECONDS=0 a camera may be silent or frozen for as long as it likes."""
    source = LiveSource(UrlCamera(server.url, timeout=0), stall_seconds=0)
    frames = source.frames()
    next(frames)
    server.show([greys()[7]])
    never(lambda: not source.is_up, during=1.0)
    server.silent = True
    never(lambda: not source.is_up, during=1.0)
    server.silent = False
    next(frames)
    assert (source.stalls, source.reconnects, len(server.came)) == (0, 0, 1)
    source.close()


def test_a_driver_that_never_returns_is_left_behind(
    server: MjpegServer, hanging: LiveSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another thread opens the camera meanwhile, and frames come again."""
    monkeypatch.setattr(live, "LEAVING_SECONDS", 0.2)
    server.falls_silent_after = 20
    threading.Thread(target=lambda: [None for _ in hanging.frames()], daemon=True).start()
    eventually(lambda: hanging.stalls == 1)
    server.falls_silent_after = None
    eventually(lambda: hanging.is_up)
    at_least(lambda: hanging.frames_read, 100)
    assert server.clients == 2
    assert "is not let go by its driver, which is left behind" in caplog.text
    assert hanging.is_well


def test_a_driver_that_hangs_ever_again_is_given_up(
    server: MjpegServer, hanging: LiveSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many threads are left behind: only the program's end may free the camera."""
    monkeypatch.setattr(live, "LEAVING_SECONDS", 0.1)
    monkeypatch.setattr(live, "MOST_HUNG", 1)
    server.falls_silent_after = 5
    _is_given_up(hanging)
    assert len(server.came) == 2


def test_a_driver_that_hangs_and_holds_the_camera_is_given_up(
    server: MjpegServer, hanging: LiveSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thread never comes back, and nobody else can open the camera."""
    monkeypatch.setattr(live, "LEAVING_SECONDS", 0.1)
    monkeypatch.setattr(live, "HUNG_SECONDS", 1.0)
    threading.Timer(0.5, setattr, (server, "refuses", True)).start()
    server.falls_silent_after = 5
    _is_given_up(hanging)
    assert server.clients == 1


def test_an_opening_that_hangs_is_left_behind(
    server: MjpegServer, source: LiveSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "LEAVING_SECONDS", 0.1)
    monkeypatch.setattr(live, "OPENING_SECONDS", 2.0)
    server.mute = True
    threading.Thread(target=lambda: [None for _ in source.frames()], daemon=True).start()
    eventually(lambda: server.came)
    server.mute = False
    eventually(lambda: source.is_up)
    assert "it could not be opened within" in caplog.text
    assert source.stalls >= 1


def test_a_paused_camera_is_closed_and_opened_at_once_when_resumed(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no outage: nothing is told, and no reconnect counted."""
    caplog.set_level(logging.INFO)
    given: list[Frame] = []
    threading.Thread(target=lambda: given.extend(source.frames()), daemon=True).start()
    for opened in (1, 2, 3):
        before = source.frames_read
        at_least(lambda: source.frames_read, before + 5)
        assert len(server.came) == opened
        source.pause()
        assert source.paused
        assert not source.is_up
        eventually(lambda: server.clients == 0)
        count = len(given)
        never(lambda: source.is_up or server.clients or len(given) > count, during=0.3)  # noqa: B023 - likewise
        source.resume()
        assert not source.paused
        eventually(lambda: source.is_up)
    assert (source.reconnects, source.stalls, source.trouble) == (0, 0, None)
    assert caplog.records == []


def test_a_pause_that_ends_at_once_is_no_outage_either(source: LiveSource, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    threading.Thread(target=lambda: [None for _ in source.frames()], daemon=True).start()
    for _ in range(5):
        at_least(lambda: source.frames_read, source.frames_read + 5)
        source.pause()
        source.resume()
    at_least(lambda: source.frames_read, source.frames_read + 5)
    assert (source.reconnects, source.stalls, source.trouble) == (0, 0, None)
    assert caplog.records == []


def test_a_camera_paused_before_its_first_frame_is_not_opened(server: MjpegServer, source: LiveSource) -> None:
    source.pause()
    threading.Thread(target=lambda: next(source.frames()), daemon=True).start()
    never(lambda: server.came, during=0.3)
    source.resume()
    eventually(lambda: source.is_up)


def test_a_camera_that_is_away_is_not_tried_while_paused(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    frames = source.frames()
    next(frames)
    server.kill()
    eventually(lambda: caplog.records)
    source.pause()
    eventually(lambda: source.trouble is None)
    with MjpegServer(server.port) as again:
        never(lambda: again.came, during=0.5)
        source.resume()
        next(frames)
        eventually(lambda: source.is_up)
        assert source.reconnects == 0


def test_closing_ends_a_pause(source: LiveSource) -> None:
    frames = source.frames()
    next(frames)
    source.pause()
    threading.Timer(0.3, source.close).start()
    assert list(frames) == []


def test_motion_jpeg_is_not_decoded_on_the_way(server: MjpegServer) -> None:
    capture = UrlCamera(server.url).open()
    assert capture.grab()
    picture = capture.retrieve()
    assert isinstance(picture, Jpeg)
    assert picture.data.tobytes() in greys()
    capture.release()


def test_jpegs_that_are_none_are_skipped_and_counted(server: MjpegServer, source: LiveSource) -> None:
    good = greys()
    server.show([good[5], b"\xff\xd8 no picture", good[6], good[7][:10], good[8], b"", good[9], b"--frame\r\n\r\n"])
    shown: set[int] = set()
    for frame in source.frames():  # a slow reader gets the latest only, so not each of every round
        shown.add(number_shown(frame))
        if shown >= {5, 6, 8, 9} and source.frames_unreadable > 5:
            break
    assert shown == {5, 6, 8, 9}  # of 7 there is but a piece
    assert (source.reconnects, len(server.came)) == (0, 1)


def test_a_jpeg_damaged_inside_is_told_when_it_is_looked_at(server: MjpegServer, source: LiveSource) -> None:
    """It is one frame; the source goes on."""
    good, bad = jpeg(np.zeros((48, 64, 3), np.uint8)), _undecodable(greys()[20])
    server.show([good, bad])
    readable = map(_is_readable, source.frames())
    seen = {next(readable)}
    while len(seen) < 2:
        seen.add(next(readable))
    assert len(server.came) == 1


def test_a_camera_of_which_no_frame_can_be_decoded_is_opened_anew(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Only looking at them tells."""
    server.show([_undecodable(picture) for picture in greys()])
    frames = source.frames()
    for _ in range(UNDECODABLE_FRAMES):
        assert not _is_readable(next(frames))
    assert caplog.records == []
    next(frames)
    eventually(lambda: len(server.came) == 2)
    assert "its frames cannot be decoded" in caplog.text


def test_a_webcams_jpeg_without_tables_and_with_padding_is_a_picture(server: MjpegServer, source: LiveSource) -> None:
    """Many leave out the Huffman tables (DHT), which are always the same, and fill up the buffer."""
    # Tables of the standard (ITU-T T.81, K.3), which an encoder uses that does not optimize.
    server.show([_without_huffman_tables(picture) + bytes(1000) for picture in greys()])
    frames = source.frames()
    numbers = [number_shown(next(frames)) for _ in range(5)]
    assert numbers == sorted(set(numbers))
    frame = next(frames)
    assert frame.view((0, 0, 64, 48), (16, 12), grey=True).shape == (12, 16)


def test_a_stream_may_change_its_size(server: MjpegServer, source: LiveSource) -> None:
    frames = source.frames()
    assert next(frames).size == (64, 48)
    server.show(greys(160, 120))
    frame = next(frame for frame in frames if frame.size == (160, 120))
    assert frame.image.shape == (120, 160, 3)
    assert len(server.came) == 1


def _is_given_up(source: LiveSource) -> None:
    with pytest.raises(SourceError, match="hangs and holds the camera: only this program's end may free it"):
        for _ in source.frames():
            pass
    assert not source.is_well
    assert not source.is_up
    assert source.trouble is not None
    assert "hangs" in source.trouble


def _is_readable(frame: Frame) -> bool:
    try:
        return frame.image.size > 0
    except UnreadableFrameError:
        return False


def _undecodable(picture: bytes) -> bytes:
    """Its size can be read, but a quantization table that it needs is missing."""
    at = picture.index(b"\xff\xdb")
    return picture[:at] + b"\xff\xfe" + picture[at + 2 :]


def _without_huffman_tables(picture: bytes) -> bytes:
    while (at := picture.find(b"\xff\xc4")) >= 0:
        picture = picture[:at] + picture[at + 2 + int.from_bytes(picture[at + 2 : at + 4]) :]
    return picture
