"""Object keys: always in their place, one to one, and the same for the same message."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from face_messages import FaceEvent, Message
from face_messages.names import safe_name
from object_store.keys import face_key, object_for

NOW = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
FACE_KEY = re.compile(
    r"faces/(?P<edge>[^/]+)/(?P<camera>[^/]+)/(?P<y>\d{4})/(?P<m>\d\d)/(?P<d>\d\d)/"
    r"(?P=y)(?P=m)(?P=d)T\d{6}\.\d{6}Z-(?P<id>[^/]+)\.png"
)
OTHER_KEY = re.compile(
    r"(faces/unattributed/\d{4}/\d\d/\d\d/[0-9a-f]{64}\.png|unrecognized/\d{4}/\d\d/\d\d/[0-9a-f]{64})"
)
ANY_TEXT = st.text()
HOSTILE = st.one_of(
    ANY_TEXT,
    st.sampled_from(
        ["..", ".", "../..", "/", "//", "a/../b", "%2e%2e", "~", ".hidden", "a.", "x" * 5000, "\\..\\", "é" * 300]
    ),
    st.lists(st.sampled_from(["..", ".", "/", "%", "2E", "~", "a", "\\", "é"]), min_size=1).map("".join),
)
EVENT = FaceEvent("0190-abc", "tx2", "cam0", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))


def segments_are_safe(key: str) -> bool:
    return (
        len(key.encode()) <= 1024
        and key.isascii()
        and key.isprintable()
        and all(s not in ("", ".", "..") and not s.startswith(".") and not s.endswith(".") for s in key.split("/"))
        and "\\" not in key
    )


def test_a_face_s_key_is_as_the_design_says() -> None:
    """Byte for byte."""
    stored = object_for(EVENT.to_message("t", PNG), received_at=NOW)
    assert stored.key == "faces/tx2/cam0/2026/01/02/20260102T030405.678901Z-0190-abc.png"
    assert (stored.body, stored.content_type) == (PNG, "image/png")
    assert stored.metadata == EVENT.attributes()


def test_a_png_without_attributes_and_anything_else_have_their_places() -> None:
    """Filed under the day of receipt in UTC."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    digest = hashlib.sha256(PNG).hexdigest()
    assert object_for(Message("t", PNG), received_at=tokyo).key == f"faces/unattributed/2026/11/23/{digest}.png"
    for payload in (b"", b"text", PNG[:7], b"\xff\xfe"):
        stored = object_for(Message("t", payload), received_at=tokyo)
        assert stored.key == f"unrecognized/2026/11/23/{hashlib.sha256(payload).hexdigest()}"
        assert stored.content_type == "application/octet-stream"


def test_an_event_whose_data_is_no_png_is_stored_under_its_attributes() -> None:
    """The key follows from the event alone."""
    whole, broken = (object_for(EVENT.to_message("t", data), received_at=NOW) for data in (PNG, b"\x89PN"))
    assert whole.key == broken.key


@given(
    properties=st.lists(st.tuples(st.sampled_from([*EVENT.attributes(), "frame", "other"]), HOSTILE)),
    payload=st.binary(),
    content_type=st.none() | st.just("image/png") | ANY_TEXT,
)
def test_no_message_writes_outside_the_scheme(
    properties: list[tuple[str, str]], payload: bytes, content_type: str | None
) -> None:
    """Whatever its properties are."""
    stored = object_for(Message("t", payload, content_type, tuple(properties)), received_at=NOW)
    assert segments_are_safe(stored.key)
    assert FACE_KEY.fullmatch(stored.key) or OTHER_KEY.fullmatch(stored.key)


@given(event_id=HOSTILE, edge=HOSTILE, camera=HOSTILE, time=st.datetimes(timezones=st.just(UTC)))
def test_no_event_writes_outside_the_scheme(event_id: str, edge: str, camera: str, time: datetime) -> None:
    """Names of any kind, times from the year 1 to 9999."""
    event = FaceEvent(event_id, edge, camera, time)
    message = event.to_message("t", PNG)
    stored = object_for(message, received_at=NOW)
    assert segments_are_safe(stored.key)
    assert FACE_KEY.fullmatch(stored.key) or OTHER_KEY.fullmatch(stored.key)
    assert all(v.isascii() and v.isprintable() and len(v) <= 256 for v in stored.metadata.values())
    assert sum(len(k) + len(v) for k, v in stored.metadata.items()) < 2048, "S3 takes no more metadata"
    whole = {name: unquote(value) for name, value in stored.metadata.items() if len(value) < 256}
    assert whole.items() <= event.attributes().items() or stored.captured_at is None


@given(name=HOSTILE.filter(bool))
def test_a_name_becomes_one_bounded_segment(name: str) -> None:
    """And can be read back where it was not cut."""
    safe = safe_name(name)
    assert 0 < len(safe) <= 128
    assert segments_are_safe(f"x/{safe}/x")
    if "~" not in safe:
        assert unquote(safe) == name


@given(one=HOSTILE.filter(bool), two=HOSTILE.filter(bool))
def test_different_names_become_different_segments(one: str, two: str) -> None:
    """One to one, so nobody's faces end up among another's."""
    assume(one != two)
    assert safe_name(one) != safe_name(two)


def test_long_names_that_begin_alike_stay_apart() -> None:
    """They are cut, and told apart by their hash."""
    names = {safe_name("x" * 500 + end) for end in ("a", "b", "c")}
    assert len(names) == 3
    assert {len(name) for name in names} == {128}


def test_a_name_cannot_pass_for_a_cut_one() -> None:
    """What stands before a hash is a sign that no name keeps."""
    cut = safe_name("x" * 500)
    assert safe_name(cut) != cut


@pytest.mark.parametrize("year", [1, 999, 9999])
def test_years_have_four_digits(year: int) -> None:
    """So that keys sort by time."""
    key = face_key(replace(EVENT, time=datetime(year, 1, 2, tzinfo=UTC)))
    assert f"/{year:04}/01/02/{year:04}0102T000000.000000Z-" in key


def test_the_same_message_has_the_same_key_and_metadata() -> None:
    """Whenever it is received."""
    message = EVENT.to_message("t", PNG)
    assert object_for(message, received_at=NOW) == object_for(message, received_at=NOW + timedelta(days=9))
