"""Recordings: every frame, or the newest at their own pace; and what becomes of broken ones."""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_face_detection.sources import recorded
from edge_face_detection.sources.frame import Frame, Image, SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.recorded import RecordedSource
from edge_face_detection.sources.source import Source

FRAMES_PER_SECOND = 20
# The grey of frame n is n times this, far enough apart to survive JPEG.
GREY_STEP = 4

MakeClip = Callable[[str, int], Path]


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    def make(name: str, frames: int) -> Path:
        path = tmp_path / name
        fourcc = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FRAMES_PER_SECOND, (64, 48))
        for number in range(frames):
            writer.write(np.full((48, 64, 3), number * GREY_STEP % 256, np.uint8))
        writer.release()
        return path

    return make


def _open(path: Path, *, realtime: bool = False, loop: bool = False) -> Source:
    return open_source(str(path), realtime=realtime, loop=loop)


def _number_shown(frame: Frame) -> int:
    return round(float(frame.image.mean()) / GREY_STEP)


def _is_picture(frame: Frame) -> bool:
    return frame.image.ndim == 3 and frame.image.shape[2] == 3 and frame.image.dtype == np.uint8


def test_as_fast_as_it_goes_every_frame_comes_in_order(make_clip: MakeClip) -> None:
    """Sixty frames of three seconds, in less."""
    source = _open(make_clip("clip.avi", 60))
    began = time.monotonic()
    frames = list(source.frames())
    assert time.monotonic() - began < 2.9
    assert [frame.number for frame in frames] == [_number_shown(frame) for frame in frames] == list(range(60))
    assert all(_is_picture(frame) for frame in frames)
    assert (source.frames_read, source.frames_skipped, source.reconnects) == (60, 0, 0)


def test_frames_carry_the_moment_of_their_capture(make_clip: MakeClip) -> None:
    wall, monotonic = time.time(), time.monotonic()
    frames = list(_open(make_clip("clip.avi", 3)).frames())
    for before, after in itertools.pairwise(frames):
        assert monotonic <= before.captured_monotonic <= after.captured_monotonic <= time.monotonic()
        assert wall <= before.captured_at.timestamp() <= time.time()
        assert before.captured_at.utcoffset() is not None


def test_it_is_up_while_frames_come(make_clip: MakeClip) -> None:
    source = _open(make_clip("clip.avi", 3))
    assert not source.is_up
    assert all(source.is_up for _ in source.frames())
    assert not source.is_up


def test_a_loop_begins_again_and_counts_on(make_clip: MakeClip) -> None:
    source = _open(make_clip("clip.avi", 5), loop=True)
    frames = list(itertools.islice(source.frames(), 12))
    assert [frame.number for frame in frames] == list(range(12))
    assert [_number_shown(frame) for frame in frames] == [*range(5), *range(5), 0, 1]


def test_a_recording_that_vanishes_while_looping_is_an_error(make_clip: MakeClip) -> None:
    path = make_clip("clip.avi", 3)
    frames = _open(path, loop=True).frames()
    next(frames)
    path.unlink()
    with pytest.raises(SourceError, match=r"clip\.avi"):
        list(frames)


@pytest.mark.alone
def test_in_real_time_frames_come_at_the_recordings_own_pace(make_clip: MakeClip) -> None:
    """Twenty a second, none before its time, and each shows what its number says."""
    frames = list(_open(make_clip("clip.avi", 21), realtime=True).frames())
    assert len(frames) > 10
    for frame in frames:
        due = frames[0].captured_monotonic + frame.number / FRAMES_PER_SECOND
        assert -0.06 <= frame.captured_monotonic - due < 0.5
        assert _number_shown(frame) == frame.number


def test_in_real_time_a_loop_keeps_the_pace(make_clip: MakeClip) -> None:
    """Also one of a single frame, which must not spin."""
    frames = list(itertools.islice(_open(make_clip("clip.avi", 1), realtime=True, loop=True).frames(), 11))
    assert frames[-1].captured_monotonic - frames[0].captured_monotonic >= 0.4


@pytest.mark.alone
def test_in_real_time_a_slow_consumer_gets_the_newest_frame(make_clip: MakeClip) -> None:
    """A consumer of 4 frames a second sees 20 a second pass by, without falling behind."""
    source = _open(make_clip("clip.avi", 50), realtime=True)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        time.sleep(0.25)
    assert len(frames) <= 11
    assert source.frames_skipped >= 39
    assert source.frames_read == 50 == len(frames) + source.frames_skipped
    for frame in frames:
        due = frames[0].captured_monotonic + frame.number / FRAMES_PER_SECOND
        assert -0.1 <= frame.captured_monotonic - due < 1
        assert _number_shown(frame) == frame.number


class _SlowRecording:
    """Takes three times as long to decode as to play."""

    description = "slow"
    step = 0.01
    position = -step

    def rewind(self) -> None:
        self.left = 30

    def grab(self) -> bool:
        time.sleep(3 * self.step)
        self.position += self.step
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> Image | None:
        return np.zeros((4, 4, 3), np.uint8)

    def release(self) -> None:
        self.left = 0


def test_decoding_slower_than_real_time_still_gives_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame's time is over before it is there; yet not all of them are skipped."""
    monkeypatch.setattr(recorded, "LONGEST_SKIP_SECONDS", 0.1)
    source = RecordedSource(_SlowRecording(), realtime=True, loop=False)  # type: ignore[arg-type]  # it acts as one
    assert 3 <= len(list(source.frames())) <= 15
    assert source.frames_read == 30


def test_closing_ends_the_frames_though_the_next_is_not_due(make_clip: MakeClip) -> None:
    source = _open(make_clip("clip.avi", 50), realtime=True, loop=True)
    closer = threading.Timer(0.2, source.close)
    closer.start()
    began = time.monotonic()
    for _ in source.frames():
        pass
    closer.join()
    assert time.monotonic() - began < 20
    assert list(source.frames()) == []


def test_a_whole_recording_ends_without_a_word(make_clip: MakeClip, caplog: pytest.LogCaptureFixture) -> None:
    assert len(list(_open(make_clip("clip.avi", 60)).frames())) == 60
    assert caplog.records == []


def test_of_a_recording_cut_off_what_is_there_is_given_with_a_warning(
    make_clip: MakeClip, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is looped."""
    path = make_clip("clip.avi", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = _open(path, loop=True)
    frames = list(itertools.islice(source.frames(), 70))
    assert len(frames) == 70
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "claims 3.0 s" in record.getMessage()


def test_frames_behind_a_damaged_place_are_given(make_clip: MakeClip) -> None:
    path = make_clip("clip.avi", 60)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1500] = np.random.default_rng(1).bytes(1500)
    path.write_bytes(content)
    frames = list(_open(path).frames())
    assert len(frames) >= 40
    assert _number_shown(frames[-1]) >= 58


@pytest.mark.parametrize("name", ["text.mp4", "text.avi", "text.txt", "text"])
@pytest.mark.parametrize("content", [b"", b"Faces, once upon a time.\n" * 999, bytes(range(256)) * 99])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"no video can be read from .*text.* Convert it"):
        _open(path)


def test_a_video_of_an_unknown_codec_is_refused(make_clip: MakeClip) -> None:
    path = make_clip("clip.avi", 5)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    with pytest.raises(SourceError, match="codec is unknown"):
        _open(path)


@pytest.mark.parametrize("realtime", [False, pytest.param(True, marks=pytest.mark.alone)])
def test_a_paused_clip_stops_where_it_is_and_goes_on_from_there(make_clip: MakeClip, realtime: bool) -> None:
    """No frame is skipped for the time of the pause, and none is left out."""
    source = _open(make_clip("clip.avi", 10), realtime=realtime)
    frames = source.frames()
    first = [next(frames) for _ in range(5)]
    source.pause()
    assert source.paused
    assert not source.is_up
    threading.Timer(0.6, source.resume).start()
    paused_at = time.monotonic()
    last = list(frames)
    assert last[0].captured_monotonic - paused_at >= 0.6
    assert [frame.number for frame in first + last] == list(range(10))
    assert time.monotonic() - paused_at < 5


def test_closing_ends_a_pause(make_clip: MakeClip) -> None:
    source = _open(make_clip("clip.avi", 10))
    frames = source.frames()
    next(frames)
    source.pause()
    threading.Timer(0.2, source.close).start()
    assert list(frames) == []
