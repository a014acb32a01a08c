"""How the programs are, as they say themselves: from the detector to the cloud, and to Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dev.stack.clip import make_clip
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from dev.stack.stack import DETECTOR, LocalStack
from face_messages import FaceEvent, new_id
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from face_messages.service.health import CameraHealth, OutboxHealth
from tests.conftest import StartBroker
from tests.support.cloud_broker import CloudBroker
from tests.support.fake_http import Answer, FakeHttp, stored
from tests.support.parts import SendingSide, TakingSide
from tests.support.plain import Listener, listening, plain_client, publish
from tests.support.programs import BUCKET, Program, forwarder, saver
from tests.support.waiting import at_least, eventually

EDGE = "facedetection_status/demo/health"
PNG = b"\x89PNG\r\n\x1a\n a picture"
DOOR = CameraHealth(
    camera="door",
    state="up",
    frames_per_second=15.0,
    faces_per_minute=30.0,
    outbox=OutboxHealth(messages=7, bytes=70, max_bytes=700, oldest_seconds=0.5, aside=0, refusing=False),
)
SAVER = "facedetection_status/cloud_saver/health"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """The whole path, with a clip that goes on and on."""
    clip = tmp_path / "clip.avi"
    make_clip(clip, seconds=4, size=(320, 240))
    settings = {DETECTOR: {"VIDEO_SOURCE": str(clip), "VIDEO_LOOP": "true"}}
    with LocalStack(tmp_path / "stack", settings=settings) as running:
        yield running


def last(listener: Listener, topic: str) -> dict[str, Any]:
    """The newest health on a topic; empty while there is none."""
    said: dict[str, Any] = json.loads(listener.last_on(topic) or "{}")
    return said


def becomes(
    listener: Listener, topic: str, is_so: Callable[[dict[str, Any]], object], *, within: float = 60
) -> dict[str, Any]:
    """Waits for a health of which this is true; returns it."""
    eventually(
        lambda: (said := last(listener, topic)) and is_so(said),
        within=within,
        what=lambda: f"{topic} says {last(listener, topic)}",
    )
    return last(listener, topic)


def camera(said: dict[str, Any]) -> dict[str, Any]:
    """The only one of an edge."""
    found: dict[str, Any] = next(iter(said["cameras"]), {})
    return found


def age(stamp: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def test_the_cloud_is_told_how_all_are(stack: LocalStack) -> None:
    """The camera's figures, both outboxes, the link and the store; what changes is told within a second or two."""
    with listening(stack.cloud_broker.port, "#") as cloud:
        edge = becomes(cloud, EDGE, lambda said: camera(said).get("faces_per_minute"))
        shown = camera(edge)
        assert (shown["camera"], shown["state"], shown["why"]) == ("camera", "up", None)
        assert shown["frames_per_second"] > 1
        for stamp in (shown["last_face"], shown["time"], edge["time"], edge["link_since"]):
            assert -1 < age(stamp) < 60
        assert edge["edge_broker"] == "up"
        assert edge["certificate_ends"] is None
        for outbox in (edge["outbox"], shown["outbox"]):
            assert outbox["refusing"] is False
            assert outbox["bytes"] < outbox["max_bytes"]
        told = becomes(cloud, SAVER, lambda said: said["latency"])
        assert told["store"]["state"] == "ok"
        assert told["stored_last_minute"] > 0
        assert 0 < told["latency"]["p50"] <= told["latency"]["p95"] < 30
        (stored,) = told["cameras"]
        assert (stored["edge"], stored["camera"]) == ("demo", "camera")
        assert -1 < age(stored["last_stored"]) < 60

        with plain_client(stack.edge_broker.port) as operator:
            publish(operator, "facedetection_control/demo/camera", b"pause", retain=True)
        becomes(cloud, EDGE, lambda said: camera(said)["state"] == "paused", within=9)
        stack.programs[DETECTOR].kill()
        becomes(cloud, EDGE, lambda said: camera(said)["state"] == "off", within=9)
        assert camera(last(cloud, EDGE))["frames_per_second"] == 0
        stack.programs[DETECTOR].start()
        becomes(cloud, EDGE, lambda said: camera(said)["state"] == "paused", within=10)


def test_each_stored_object_is_told_of(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """By its key, on the topic of its camera, however that is called, and not again for what comes twice."""
    with (
        saver(tmp_path, broker.url, s3) as program,
        listening(broker.port, "facedetection_stored/#") as news,
        plain_client(broker.port) as client,
    ):
        program.expect("cloud_broker_up", 1)
        with SendingSide(broker.url, tmp_path / "outbox.db") as edge:
            for name in ("door", "../+/#", "x" * 300):
                event = FaceEvent(new_id(), "tx2", name, datetime.now(UTC))
                edge.outbox.put(event.id.encode(), event.to_message(TOPIC, PNG), lambda: None)
            eventually(lambda: edge.outbox.confirmed == 3)
        for payload in (PNG, PNG, b"text"):
            publish(client, TOPIC, payload)
        eventually(lambda: len(news.messages) == 5, what=lambda: str([m.topic for m in news.messages]))
        keys = set(s3.objects(BUCKET))
        for message in news.messages:
            key = message.payload.decode()
            assert key in keys
            assert not message.retain
            names = key.split("/")[1:3] if "/tx2/" in key else []
            assert message.topic == "/".join(["facedetection_stored", *names])
        assert len({message.payload for message in news.messages}) == 5


def test_a_store_that_refuses_is_told_of(broker: Mosquitto, tmp_path: Path) -> None:
    """With the reason, and since when; and that it is over."""
    answers = [Answer(403, b"<Error><Code>AccessDenied</Code></Error>")]
    with (
        FakeHttp(lambda request: answers[0] if answers else stored(request)) as store,
        saver(tmp_path, broker.url, store.url),
        listening(broker.port, SAVER) as cloud,
        plain_client(broker.port) as client,
    ):
        becomes(cloud, SAVER, lambda said: said["store"]["state"] == "ok")
        publish(client, TOPIC, PNG)
        said = becomes(cloud, SAVER, lambda said: said["store"]["state"] == "refusing", within=9)
        assert "check them" in said["store"]["why"]
        assert -1 < age(said["store"]["since"]) < 10
        answers.clear()
        becomes(cloud, SAVER, lambda said: said["store"] | {"since": ""} == {"state": "ok", "why": None, "since": ""})


def test_an_enrolled_edge_is_shown_to_prometheus(s3: S3Server, start_broker: StartBroker, tmp_path: Path) -> None:
    """Its certificate's end, its outbox and its cameras, at the saver; until it is off, and gone when it is revoked."""
    edge_broker = start_broker()
    with CloudBroker(tmp_path / "cloud") as cloud, saver(tmp_path, cloud.url, s3) as cloud_saver:
        bundle = cloud.enrol("tx2-01")
        program = forwarder(tmp_path, edge_broker.url, cloud.outside_url, EDGE_ID="tx2-01", **bundle.settings)
        door = DOOR.model_dump_json().encode()
        with plain_client(edge_broker.port) as detector:
            publish(detector, "facedetection_status/tx2-01:door/health", door, retain=True)
        cloud_saver.expect("cloud_broker_up", 1)
        figures = Figures(cloud_saver)
        with program:
            eventually(lambda: figures.of("edge_camera_up", edge="tx2-01", camera="door") == 1, what=figures.text)
            assert figures.of("edge_up", edge="tx2-01") == 1
            assert figures.of("edge_broker_up", edge="tx2-01") == 1
            assert figures.of("edge_outbox_messages", edge="tx2-01", camera="") == 0
            assert figures.of("edge_outbox_messages", edge="tx2-01", camera="door") == 7
            assert figures.of("edge_camera_faces_per_second", edge="tx2-01", camera="door") == 0.5
            ends = program.figure("certificate_expires_timestamp_seconds")
            assert figures.of("edge_certificate_expires_timestamp_seconds", edge="tx2-01") == ends
        eventually(lambda: figures.of("edge_up", edge="tx2-01") == 0, what=figures.text)
        assert figures.of("edge_camera_up", edge="tx2-01", camera="door") is None
        assert figures.of("edge_certificate_expires_timestamp_seconds", edge="tx2-01") == ends
        assert cloud.run("revoke", "tx2-01").returncode == 0
        eventually(lambda: figures.of("edge_up", edge="tx2-01") is None, what=figures.text)


def test_where_access_rules_hide_the_health_faces_are_saved(
    start_broker: StartBroker, s3: S3Server, tmp_path: Path
) -> None:
    """At a broker of somebody else's. By its access rules it does not deliver it, and refuses what is told of it."""
    rules = tmp_path / "acl"
    rules.write_text("".join(f"topic readwrite {topic}/#\n" for topic in (TOPIC, RECEIPTS_TOPIC)))
    broker = start_broker(config_lines=[f"acl_file {rules}"])
    with (
        saver(tmp_path, broker.url, s3) as program,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        edge.put(PNG)
        eventually(lambda: edge.outbox.confirmed == 1)
        assert "WARNING" not in program.log_text()
    assert len(s3.objects(BUCKET)) == 1


def test_where_the_subscription_to_the_health_is_refused_faces_are_saved(
    start_broker: StartBroker, s3: S3Server, tmp_path: Path
) -> None:
    """That is told once, with what to do, also when the broker comes back."""
    broker = start_broker(config_lines=_only_subscribe(tmp_path, f"{TOPIC}/#", f"{RECEIPTS_TOPIC}/#"))
    with (
        saver(tmp_path, broker.url, s3) as program,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        for count in (1, 2):
            edge.put(PNG + bytes([count]))
            at_least(lambda: edge.outbox.confirmed, count)
            broker.restart()
        line = program.expect_line("does not let cloud_saver subscribe to facedetection_status/+/health, ")
        assert "access rules" in line
        assert program.log_text().count("does not let") == 1
    assert len(s3.objects(BUCKET)) == 2


def test_where_the_subscription_to_faces_is_refused_the_saver_says_that_it_cannot_work(
    start_broker: StartBroker, s3: S3Server, tmp_path: Path
) -> None:
    """Though that to the health is granted."""
    broker = start_broker(config_lines=_only_subscribe(tmp_path, "facedetection_status/#"))
    with saver(tmp_path, broker.url, s3) as program:
        program.expect_line("refuses the subscription")
        assert "connected" not in program.log_text()


def _only_subscribe(folder: Path, *filters: str) -> list[str]:
    """Lines of a broker that refuses all other subscriptions, which an `acl_file` never does."""
    (plugin,) = Path("/usr/lib").rglob("mosquitto_dynamic_security.so")
    grants = [{"acltype": "subscribePattern", "topic": each, "allow": True} for each in filters]
    config = {
        "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False},
        "roles": [{"rolename": "any", "acls": grants}],
        "groups": [{"groupname": "any", "roles": [{"rolename": "any"}]}],
        "anonymousGroup": "any",
    }
    file = folder / "dynamic-security.json"
    file.write_text(json.dumps(config))
    return [f"plugin {plugin}", f"plugin_opt_config_file {file}"]


@pytest.mark.parametrize("name", ["cloud_saver", "tx2"])
def test_an_older_version_that_takes_over_hears_only_what_it_knows(
    name: str, broker: Mosquitto, start_broker: StartBroker, s3: S3Server, tmp_path: Path
) -> None:
    """The session outlives the program; health that came in it would be taken for a face."""
    cloud = broker if name == "cloud_saver" else start_broker()
    program = saver(tmp_path, cloud.url, s3) if name == "cloud_saver" else forwarder(tmp_path, broker.url, cloud.url)
    link = "cloud_broker_up" if name == "cloud_saver" else "edge_broker_up"
    with program:
        program.expect(link, 1)
    with TakingSide(broker.url, client_id=name) as older, plain_client(broker.port) as client:
        for topic in (EDGE, "facedetection_status/demo", TOPIC):
            publish(client, topic, topic.encode())
        eventually(lambda: older.payloads)
        assert older.payloads == [TOPIC.encode()]


class Figures:
    """What a program shows at /metrics, by name and labels."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def text(self) -> str:
        return self._program.ask("/metrics")[1]

    def of(self, name: str, **labels: str) -> float | None:
        samples = (sample for family in text_string_to_metric_families(self.text()) for sample in family.samples)
        wanted = (f"facedetection_{name}", labels)
        return next((sample.value for sample in samples if (sample.name, sample.labels) == wanted), None)
