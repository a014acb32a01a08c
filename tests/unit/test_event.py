"""The face event: written, read back, and read strictly."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_messages import FaceEvent, InvalidEventError, Message, new_id
from face_messages.message import MAX_CORRELATION_BYTES

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\u2028\u2029\ufffe\uffff"), min_size=1
)
COUNTS = st.integers(0, 10**15 - 1)
EVENTS = st.builds(
    FaceEvent,
    id=NAMES.filter(lambda text: len(text.encode()) <= 256),
    edge_id=NAMES,
    camera_id=NAMES,
    time=st.datetimes(timezones=st.just(UTC)),
    frame=st.none() | COUNTS,
    framesize=st.none() | st.tuples(COUNTS, COUNTS),
    facebox=st.none() | st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
    score=st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 10_000),
    track=st.none() | st.from_regex(r"[0-9A-Za-z._-]{1,64}", fullmatch=True),
)
EVENT = FaceEvent(
    id="0190-abc",
    edge_id="tx2",
    camera_id="cam0",
    time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    frame=7,
    framesize=(640, 480),
    facebox=(1, 2, 30, 40),
    score=0.9,
    track="5f1c-12",
)
REQUIRED = ["specversion", "id", "source", "type", "time"]
EXTENSIONS = ["frame", "framesize", "facebox", "score", "track"]


def with_attribute(name: str, value: str) -> Message:
    attributes = {**EVENT.attributes(), name: value}
    return Message("t", b"", "image/png", tuple(attributes.items()))


@given(event=EVENTS, png=st.binary(max_size=20))
def test_what_is_written_is_read_back(event: FaceEvent, png: bytes) -> None:
    """Any event, to a message and back."""
    message = event.to_message("facedetection_topic", png)
    assert FaceEvent.from_message(message) == event
    assert message.payload == png


@given(event=EVENTS)
def test_what_is_read_is_written_back(event: FaceEvent) -> None:
    """A message that is an event, to the event and back."""
    message = event.to_message("t", b"x")
    assert FaceEvent.from_message(message).to_message("t", b"x") == message


def test_the_attributes_are_as_the_design_says() -> None:
    """Byte for byte."""
    assert EVENT.attributes() == {
        "specversion": "1.0",
        "id": "0190-abc",
        "source": "/edges/tx2/cameras/cam0",
        "type": "facedetection.face.v1",
        "time": "2026-01-02T03:04:05.678901Z",
        "frame": "7",
        "framesize": "640,480",
        "facebox": "1,2,30,40",
        "score": "0.9000",
        "track": "5f1c-12",
    }
    assert EVENT.to_message("t", b"").content_type == "image/png"


def test_times_of_other_zones_are_written_in_utc() -> None:
    """Whatever zone the camera's clock is in."""
    there = replace(EVENT, time=EVENT.time.astimezone(timezone(timedelta(hours=5, minutes=45))))
    assert there.attributes()["time"] == "2026-01-02T03:04:05.678901Z"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_attribute_is_told(name: str) -> None:
    """By its name."""
    message = EVENT.to_message("t", b"")
    rest = tuple(pair for pair in message.user_properties if pair[0] != name)
    with pytest.raises(InvalidEventError, match=f"'{name}' is missing"):
        FaceEvent.from_message(replace(message, user_properties=rest))


@pytest.mark.parametrize("name", EXTENSIONS)
def test_extensions_may_be_absent(name: str) -> None:
    """Other people's events have none of ours."""
    message = EVENT.to_message("t", b"")
    rest = tuple(pair for pair in message.user_properties if pair[0] != name)
    absent: dict[str, Any] = {name: None}
    assert FaceEvent.from_message(replace(message, user_properties=rest)) == replace(EVENT, **absent)


@pytest.mark.parametrize("name", [*REQUIRED, *EXTENSIONS])
def test_a_doubled_attribute_is_told(name: str) -> None:
    """Even with the same value: two readers might take different ones."""
    message = EVENT.to_message("t", b"")
    doubled = (*message.user_properties, (name, EVENT.attributes()[name]))
    with pytest.raises(InvalidEventError, match=f"'{name}' is there twice"):
        FaceEvent.from_message(replace(message, user_properties=doubled))


def test_other_user_properties_are_passed_over() -> None:
    """Also doubled ones."""
    message = EVENT.to_message("t", b"")
    more = (("traceparent", "x"), *message.user_properties, ("traceparent", "y"), ("Time", "no attribute of ours"))
    assert FaceEvent.from_message(replace(message, user_properties=more)) == EVENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "1.1"),
        ("specversion", ""),
        ("type", "facedetection.face.v2"),
        ("id", ""),
        ("id", "x" * 257),
        ("id", "é" * 200),
        ("id", "a\nb"),
        ("id", "a\x00b"),
        ("id", "a\x85b"),
        ("id", "a\u2028b"),
        ("source", ""),
        ("source", "/edges//cameras/c"),
        ("source", "/edges/e/cameras/"),
        ("source", "edges/e/cameras/c"),
        ("source", "/edges/e/cameras/c\n"),
        ("source", "/edges/" + "e" * 60_000 + "/cameras/c"),
        ("time", ""),
        ("time", "yesterday"),
        ("time", "2026-01-02"),
        ("time", "2026-01-02T03:04:05"),
        ("time", "2026-01-02T03:04:05+01:00"),
        ("time", "2026-01-02 03:04:05Z"),
        ("time", "2026-13-02T03:04:05Z"),
        ("time", "2026-02-30T03:04:05Z"),
        ("time", "2026-01-02T24:00:00Z"),
        ("time", "2026-01-02T03:04:60Z"),
        ("time", "0000-01-02T03:04:05Z"),
        ("time", "10000-01-02T03:04:05Z"),
        ("time", "2026-01-02T03:04:05.1234567Z"),
        ("time", "٢٠٢٦-01-02T03:04:05Z"),
        ("frame", ""),
        ("frame", "-1"),
        ("frame", "1.5"),
        ("frame", "007"),
        ("frame", "9" * 16),
        ("frame", "٣"),
        ("framesize", "640"),
        ("framesize", "640,480,3"),
        ("framesize", "640,"),
        ("framesize", "640, 480"),
        ("facebox", "1,2,3"),
        ("facebox", "1,2,3,-4"),
        ("facebox", ","),
        ("track", ""),
        ("track", "a b"),
        ("track", "../7"),
        ("track", "7" * 65),
        ("track", "\u0667"),
        ("score", "nan"),
        ("score", "1e3"),
        ("score", ""),
        ("score", "inf"),
        ("score", "0." + "9" * 60_000),
    ],
)
def test_a_malformed_attribute_is_told(name: str, value: str) -> None:
    """By its name, and without repeating 60 kB of it."""
    with pytest.raises(InvalidEventError, match=name) as caught:
        FaceEvent.from_message(with_attribute(name, value))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("content_type", [None, "", "image/jpeg", "IMAGE/PNG", "image/png; x=y"])
def test_another_content_type_is_no_face(content_type: str | None) -> None:
    """A face event's data is a PNG."""
    with pytest.raises(InvalidEventError, match="content type"):
        FaceEvent.from_message(replace(EVENT.to_message("t", b""), content_type=content_type))


@pytest.mark.parametrize("year", ["0001", "1969", "2038", "9999"])
def test_any_year_of_the_calendar_is_a_time(year: str) -> None:
    """Clocks are wrong at times; faces are kept all the same."""
    event = FaceEvent.from_message(with_attribute("time", f"{year}-12-31T23:59:59.999999Z"))
    assert event.time == datetime(int(year), 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert event.attributes()["time"].startswith(f"{year}-12-31T")


@given(event=EVENTS)
def test_every_event_s_id_can_be_a_correlation(event: FaceEvent) -> None:
    """Else it could never be confirmed."""
    message = replace(
        event.to_message("t", b""), response_topic="facedetection_receipts/x", correlation_data=event.id.encode()
    )
    assert message.wants_receipt
    assert len(event.id.encode()) <= MAX_CORRELATION_BYTES


def test_ids_are_unique_and_in_the_order_of_time() -> None:
    """As text, so that keys sort by time."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_ids_are_unique_over_threads() -> None:
    """And in order within each."""
    made: list[list[str]] = [[] for _ in range(8)]

    def make(into: list[str]) -> None:
        for _ in range(3000):
            into.append(new_id())  # noqa: PERF401 - one at a time, for the threads to meet

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({i for ids in made for i in ids}) == 8 * 3000


def test_ids_stay_in_order_when_the_clock_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set right by an hour makes no earlier ids, nor the same ones."""
    before = [new_id() for _ in range(10)]
    clock = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: clock - 3_600_000_000_000)
    after = [new_id() for _ in range(10)]
    assert before + after == sorted({*before, *after})


def test_an_id_is_a_uuid_of_version_7_of_this_moment() -> None:
    """RFC 9562, section 5.7."""
    made = new_id()
    assert made[14] == "7"
    assert made[19] in "89ab"
    assert [len(part) for part in made.split("-")] == [8, 4, 4, 4, 12]
    assert abs(int(made.replace("-", "")[:12], 16) / 1000 - time.time()) < 5
