"""What is believed of what programs say of themselves, and what becomes of it."""

from __future__ import annotations

import json
import math
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cloud_saver.announce import Lately
from cloud_saver.edge_metrics import Edges
from edge_forwarder.camera_health import Cameras
from face_messages.service import health
from face_messages.service.health import CameraHealth, EdgeHealth, OutboxHealth, Rate, read_health
from object_store.keys import StoredObject

OUTBOX = OutboxHealth(messages=1, bytes=2, max_bytes=3, oldest_seconds=4.5, aside=5, refusing=False)


def camera(name: str = "door", **other: Any) -> CameraHealth:
    figures: dict[str, Any] = {"frames_per_second": 15.0, "faces_per_minute": 30.0, "outbox": OUTBOX}
    return CameraHealth(**({"camera": name, "state": "up"} | figures | other))


def edge(*cameras: CameraHealth, **other: Any) -> EdgeHealth:
    fields: dict[str, Any] = {"outbox": OUTBOX, "edge_broker": "up", "cameras": list(cameras)}
    return EdgeHealth(**(fields | other))


def payload(of: CameraHealth | EdgeHealth, **changed: object) -> bytes:
    """As it is published, with some fields changed."""
    return json.dumps(json.loads(of.model_dump_json()) | changed).encode()


BAD: dict[str, list[Any]] = {
    "camera": ["../x", "", "x" * 64, 5, None, "a b", "tür"],
    "state": ["fine", "", None, 1],
    "frames_per_second": [-1, "5", None, True, 1e300, float("nan"), float("inf")],
    "outbox": [None, [], {"messages": 1}, 5],
    "time": ["yesterday", 5, "2026-01-01T00:00:00", None],
    "version": ["", "x" * 33, "\n", 1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_health_that_breaks_the_rules_counts_as_none(name: str, value: object) -> None:
    """Field by field."""
    assert read_health(CameraHealth, payload(camera())) is not None
    assert read_health(CameraHealth, payload(camera(), **{name: value})) is None


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"[" * 10_000, b"null", b'{"camera":"\\ud800"}', b" " * 20_000])
def test_what_is_no_health_counts_as_none(said: bytes) -> None:
    """Not JSON, too deep, too long."""
    assert read_health(CameraHealth, said) is None


def test_fields_of_a_newer_version_are_passed_over() -> None:
    """So that edges and cloud may be of different age."""
    assert read_health(CameraHealth, payload(camera(), mood="good")) is not None


def test_texts_of_others_are_short_and_steer_no_terminal() -> None:
    """They are shown to people."""
    read = read_health(CameraHealth, payload(camera(), why="\x1b[2J\u202e" + "x" * 500))
    assert read is not None
    assert read.why == "?[2J?" + "x" * 115


def test_the_largest_health_is_within_its_bound() -> None:
    """16 cameras with long names and troubles in four-byte characters."""
    worst = [
        camera(f"{number:02}{'x' * 61}", state="down", why="\U0001f4f7" * 500, last_face=datetime.now(UTC))
        for number in range(health.MAX_CAMERAS)
    ]
    said = edge(*worst, link_since=datetime.now(UTC), certificate_ends=datetime.now(UTC)).model_dump_json().encode()
    assert len(said) <= health.MAX_BYTES
    assert read_health(EdgeHealth, said) is not None


def hear(cameras: Cameras, name: str, said: bytes | None = None, *, status: bytes | None = None) -> None:
    topic = f"facedetection_status/tx2:{name}"
    if status is not None:
        cameras.hear(topic, status, False)
    else:
        cameras.hear(f"{topic}/health", payload(camera(name)) if said is None else said, False)


def states(cameras: Cameras) -> dict[str, str]:
    return {each.camera: each.state for each in cameras.present()}


def test_a_detector_that_has_gone_is_off_and_one_that_says_nothing_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it said last; until it is heard again."""
    cameras = Cameras("tx2")
    for name in ("door", "hall"):
        hear(cameras, name)
    hear(cameras, "hall", status=b"offline")
    assert states(cameras) == {"door": "up", "hall": "off"}
    hear(cameras, "hall", status=b"online")
    assert states(cameras) == {"door": "up", "hall": "up"}
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 26)
    hear(cameras, "door")
    assert states(cameras) == {"door": "up", "hall": "silent"}
    hear(cameras, "hall", b"")
    assert states(cameras) == {"door": "up"}


def test_only_cameras_of_this_edge_count_and_only_under_their_own_name() -> None:
    """Whoever may publish at the edge broker may say anything."""
    cameras = Cameras("tx2")
    for topic in ("tx2x:door", "tx1:door", "tx2:hall", "door", "tx2:", "tx2:door/x"):
        cameras.hear(f"facedetection_status/{topic}/health", payload(camera("door")), False)
    assert cameras.present() == []


def test_a_flood_of_names_drives_no_camera_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 16 stay as long as they are heard of."""
    cameras = Cameras("tx2")
    for number in range(100):
        hear(cameras, f"cam{number:02}")
    assert list(states(cameras)) == [f"cam{number:02}" for number in range(16)]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 26)
    for number in range(15):
        hear(cameras, f"cam{number:02}")
    hear(cameras, "new")
    assert "new" in states(cameras)
    assert "cam15" not in states(cameras)


class Shown:
    """Edges, as Prometheus sees them."""

    def __init__(self) -> None:
        self.edges = Edges()
        self._registry = CollectorRegistry()
        self._registry.register(self.edges)

    def hear(self, said: bytes, name: str = "tx2", *, from_before: bool = False) -> None:
        self.edges.hear(f"facedetection_status/{name}/health", said, from_before)

    def samples(self) -> dict[tuple[str, ...], float]:
        """By name, edge and camera; no two are the same, which Prometheus would not take."""
        text = generate_latest(self._registry).decode()
        found = [
            (
                (
                    sample.name.removeprefix("facedetection_edge_"),
                    *(sample.labels[name] for name in ("edge", "camera") if name in sample.labels),
                ),
                sample.value,
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
        assert len(dict(found)) == len(found)
        return dict(found)


def test_an_edge_cannot_make_figures_without_end() -> None:
    """16 cameras at a time would be new series for ever; a name twice would spoil the whole scrape."""
    shown = Shown()
    for first in range(0, 160, 16):
        shown.hear(payload(edge(*(camera(f"cam{number:03}") for number in range(first, first + 16)))))
    assert not any(key[2].startswith("cam") for key in shown.samples() if len(key) > 2)
    shown.hear(payload(edge(camera("cam003"), camera("cam003", state="down"))))
    assert {key[2] for key in shown.samples() if key[0] == "camera_up"} == {"cam003"}


@pytest.mark.parametrize("name", ["cloud_saver", "", "a/b", "x" * 64, "tx2\n", "ü"])
def test_what_has_no_edge_s_name_is_no_edge(name: str) -> None:
    """Programs in the cloud say how they are on such topics as well."""
    shown = Shown()
    shown.hear(payload(edge()), name)
    assert shown.samples() == {}


def test_the_number_of_edges_is_bounded() -> None:
    """As is the broker's number of connections."""
    shown = Shown()
    for number in range(600):
        shown.hear(payload(edge()), f"tx{number}")
    assert len([key for key in shown.samples() if key[0] == "up"]) == 500


def test_an_edge_that_was_given_up_is_forgotten_and_prometheus_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """For five minutes, as it remembers the last figure longer than it is shown; and a flood of names is not kept."""
    shown = Shown()
    shown.hear(b"")
    assert shown.samples() == {}
    for number in range(600):
        shown.hear(payload(edge()), f"tx{number}")
        shown.hear(b"", f"tx{number}")
    samples = shown.samples()
    assert len(samples) == 500
    assert {key[0] for key in samples} == {"last_heard_timestamp_seconds"}
    assert all(math.isnan(value) for value in samples.values())
    shown.hear(payload(edge()), "tx7")
    assert shown.samples()["last_heard_timestamp_seconds", "tx7"] == pytest.approx(time.time(), abs=5)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 301)
    assert {key[1] for key in shown.samples()} == {"tx7"}


def test_an_old_message_does_not_make_an_edge_look_alive() -> None:
    """The broker has it from before; by the edge's own clock it is from an hour ago."""
    shown = Shown()
    said = payload(edge(camera(), time=datetime.now(UTC) - timedelta(hours=1)))
    shown.hear(said, from_before=True)
    samples = shown.samples()
    assert samples["up", "tx2"] == 0
    assert samples["last_heard_timestamp_seconds", "tx2"] == pytest.approx(time.time() - 3600, abs=5)
    assert ("camera_up", "tx2", "door") not in samples
    shown.hear(said)
    assert shown.samples()["up", "tx2"] == 1  # its clock may be wrong, but it is there


@given(st.datetimes(timezones=st.just(UTC)))
def test_any_time_that_an_edge_may_think_it_is_can_be_shown(moment: datetime) -> None:
    """A clock without a battery is anywhere."""
    shown = Shown()
    said = edge(camera(last_face=moment), time=moment, link_since=moment, certificate_ends=moment)
    for from_before in (True, False):
        shown.hear(payload(said), from_before=from_before)
        assert ("up", "tx2") in shown.samples()


def test_the_version_is_the_project_s() -> None:
    """The images have the code, and no package that would know it."""
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["version"] == health.VERSION


def test_a_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of all time, and not of a blink."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rate = Rate(60)
    assert rate.per_second(5) == 5.0
    for _ in range(12):
        now += 10
        rate.per_second(5)
    assert rate.per_second(5) == 0.0
    now += 30
    assert rate.per_second(65) == pytest.approx(1.0)


def test_the_saver_remembers_the_cameras_that_stored_last() -> None:
    """Of 32, and within the bound of a message, however long their names are."""
    lately = Lately(lambda: RuntimeError("\U0001f4f7" * 500))
    for number in range(100):
        name = f"{number:03}".ljust(128, "x")
        lately.stored(StoredObject(f"faces/{name}/{name}/2026/x.png", b"", "image/png", {}, datetime.now(UTC)), 0.25)
    said = lately.health()
    assert [each.camera[:3] for each in said.cameras] == [f"{number:03}" for number in range(68, 100)]
    assert said.latency is not None
    assert (said.latency.p50, said.latency.p95) == (0.25, 0.25)
    assert len(said.model_dump_json().encode()) <= health.MAX_BYTES
