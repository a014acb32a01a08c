"""Times of capture: in the order of capture, whatever the wall clock does."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_face_detection.clock import (
    LARGEST_CORRECTION,
    NOT_SET_BEFORE,
    CaptureClock,
    last_face_at,
    remember_face,
)
from edge_face_detection.sources.frame import Frame

SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)
YEAR = timedelta(days=365)
BOOTED = datetime(1970, 1, 1, tzinfo=UTC)
TODAY = datetime(2027, 5, 4, 3, 2, 1, tzinfo=UTC)


class Device:
    """A wall clock that is stepped, a monotonic one that is not, and the frames captured by them."""

    def __init__(self, wall: datetime, *, known: datetime = BOOTED) -> None:
        self.wall = wall
        self.uptime = 0.0
        self.clock = CaptureClock(known)

    def after(self, passed: timedelta, *, step: timedelta = timedelta(0)) -> datetime:
        """The stamp of a frame captured so much later, with the wall clock stepped meanwhile."""
        self.uptime += passed.total_seconds()
        self.wall += passed + step
        frame = Frame(np.zeros((1, 1, 3), np.uint8), 0, self.wall, self.uptime)
        return self.clock.stamped(frame).captured_at


def test_a_clock_that_is_right_is_believed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Also when the last face is long ago, and when no frame came for long."""
    device = Device(TODAY, known=TODAY - YEAR)
    assert [device.after(SECOND), device.after(3 * YEAR), device.after(TICK)] == [
        TODAY + SECOND,
        TODAY + SECOND + 3 * YEAR,
        TODAY + SECOND + 3 * YEAR + TICK,
    ]
    assert not caplog.messages


def test_a_clock_that_is_not_set_goes_on_from_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """And says so once; so does its end."""
    caplog.set_level(logging.INFO)
    device = Device(BOOTED, known=TODAY)
    assert [device.after(SECOND), device.after(SECOND), device.after(SECOND)] == [
        TODAY + TICK,
        TODAY + TICK + SECOND,
        TODAY + TICK + 2 * SECOND,
    ]
    (line,) = caplog.messages
    assert "not set, it says 1970-01-01 00:00:01" in line
    assert "from 2027-05-04 03:02:01" in line
    now = TODAY + timedelta(days=1)
    assert device.after(SECOND, step=now - device.wall - SECOND) == now
    assert len(caplog.messages) == 2
    assert "is set, it says 2027-05-05 03:02:01" in caplog.messages[1]


def test_where_nothing_is_known_time_begins_when_the_software_was_new() -> None:
    """Neither in 1970, nor in whatever year the system was built."""
    assert Device(datetime(2018, 1, 28, tzinfo=UTC)).after(SECOND) == NOT_SET_BEFORE + TICK


def test_a_clock_that_loses_its_setting_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """By monotonic time alone."""
    device = Device(TODAY)
    device.after(SECOND)
    assert device.after(SECOND, step=-57 * YEAR) == TODAY + 2 * SECOND
    assert "not set" in caplog.text


def test_a_small_step_back_is_evened_out_at_half_speed(caplog: pytest.LogCaptureFixture) -> None:
    """Time never stands still, never goes back, and in the end it is the wall clock's, all without a word."""
    device = Device(TODAY)
    stamps = [device.after(SECOND), device.after(SECOND, step=-60 * SECOND)]
    stamps += [device.after(SECOND) for _ in range(117)]
    assert {after - before for before, after in pairwise(stamps)} == {SECOND / 2}
    assert stamps[-1] == device.wall + SECOND
    assert device.after(2 * SECOND) == device.wall
    assert device.after(SECOND) == device.wall
    assert not caplog.messages


def test_a_restart_after_a_small_step_back_evens_it_out_too() -> None:
    """The last face counts, and not the last start."""
    assert Device(TODAY, known=TODAY + 60 * SECOND).after(SECOND) == TODAY + 60 * SECOND + TICK


@pytest.mark.parametrize("years", [-1, 10])
def test_a_large_step_is_followed_and_told(years: int, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has set a wrong clock right."""
    device = Device(TODAY)
    device.after(SECOND)
    assert device.after(SECOND, step=years * YEAR) == device.wall
    assert device.after(SECOND) == device.wall
    (line,) = caplog.messages
    assert "went from 2027-05-04 03:02:03+00:00 to 20" in line


def test_a_device_that_knew_a_future_is_told_and_believes_its_clock(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that was years ahead once must not be for ever."""
    assert Device(TODAY, known=TODAY + 70 * YEAR).after(SECOND) == TODAY + SECOND
    assert "went from 2097" in caplog.text


def test_a_correction_is_bounded_from_the_newest_stamp_on() -> None:
    """Many small steps back are a large one in the end."""
    device = Device(TODAY)
    stamps = [device.after(SECOND, step=-100 * SECOND) for _ in range(5)]
    assert stamps[:3] == sorted(stamps[:3])
    assert any(after < before for before, after in pairwise(stamps))
    assert all(stamp - TODAY < LARGEST_CORRECTION for stamp in stamps)


def test_a_correction_while_no_frame_came_is_bounded_too() -> None:
    """An hour later by one clock, and two minutes earlier by the other: it is not half an hour later."""
    device = Device(TODAY)
    last = device.after(SECOND)
    stamp = device.after(3600 * SECOND, step=-3720 * SECOND)
    assert last < stamp == device.wall + LARGEST_CORRECTION


steps = st.timedeltas(-80 * YEAR, 80 * YEAR) | st.timedeltas(-2 * LARGEST_CORRECTION, 2 * LARGEST_CORRECTION)
passed = st.timedeltas(timedelta(0), timedelta(days=30)) | st.timedeltas(timedelta(0), 60 * SECOND)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis wants it so


@given(moments, moments, st.lists(st.tuples(passed, steps | st.just(timedelta(0))), max_size=30))
def test_whatever_the_clocks_do_stamps_go_back_only_after_a_large_step(
    known: datetime, wall: datetime, history: list[tuple[timedelta, timedelta]]
) -> None:
    """They also differ from one frame to the next, and are never far ahead of a clock that is set."""
    device = Device(wall, known=known)
    last = device.after(timedelta(0))
    for time, step in history:
        if not BOOTED < device.wall + time + step < datetime(2600, 1, 1, tzinfo=UTC):
            continue
        stamp = device.after(time, step=step)
        assert stamp != last
        if stamp < last:
            assert stamp == device.wall < last - LARGEST_CORRECTION
        if device.wall >= NOT_SET_BEFORE:
            assert device.wall <= stamp <= device.wall + LARGEST_CORRECTION + TICK
        else:
            assert stamp - last == max(time, TICK)
        last = stamp


def test_the_last_face_is_remembered_beside_the_outbox(tmp_path: Path) -> None:
    """To the microsecond, and whatever the system's clock says."""
    outbox = tmp_path / "outbox.db"
    assert last_face_at(outbox) < NOT_SET_BEFORE
    for captured_at in (TODAY + TICK, TODAY + YEAR, TODAY):
        remember_face(outbox, captured_at)
        assert last_face_at(outbox) == captured_at
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_a_place_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    """The outbox tells of it, and waits."""
    (tmp_path / "file").touch()
    remember_face(tmp_path / "file" / "outbox.db", TODAY)
    assert last_face_at(tmp_path / "file" / "outbox.db") < NOT_SET_BEFORE


def test_a_note_from_beyond_the_calendar_is_no_note(tmp_path: Path) -> None:
    """Some file systems keep more years than there are dates for."""
    outbox = tmp_path / "outbox.db"
    remember_face(outbox, TODAY)
    try:
        os.utime(tmp_path / "outbox.db.last-face", (400_000_000_000, 400_000_000_000))
    except OSError:
        pytest.skip("this file system keeps fewer")
    assert last_face_at(outbox).year < 3000
