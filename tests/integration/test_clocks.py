"""Wall clocks that jump while faces flow, as those of devices without a battery do when NTP comes."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from dev.stack.clip import PICTURE
from dev.stack.mosquitto import ListenerTls, Mosquitto
from dev.stack.stack import DETECTOR, FORWARDER, SAVER, LocalStack
from edge_face_detection.clock import NOT_SET_BEFORE
from face_messages.message import TOPIC
from face_messages.mqtt.url import TlsFiles
from tests.conftest import StartBroker
from tests.support.certificates import Authority
from tests.support.parts import SendingSide, TakingSide
from tests.support.plain import plain_client, publish
from tests.support.programs import ROOT, Program, forwarder
from tests.support.waiting import eventually

DAY = timedelta(days=1)
BOOTED = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
STAMP = re.compile(r"/(\d{8}T\d{6}\.\d{6}Z)-([0-9a-f-]{36})\.png$")


class WallClock:
    """The wall clock of one machine, for the programs that run in its `environment`; their other clocks are true."""

    def __init__(self, folder: Path, library: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "wall_clock_offset"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(self._file)}

    def is_off(self, offset: timedelta) -> None:
        """From now on, by so much."""
        nanoseconds = offset // timedelta(microseconds=1) * 1000
        with self._file.open("r+b", buffering=0) as file:
            file.write(nanoseconds.to_bytes(8, "little", signed=True))

    def says(self, moment: datetime) -> None:
        self.is_off(moment - datetime.now(UTC))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What puts a program's wall clock off."""
    assert shutil.which("gcc"), "gcc is not installed: dev/scripts/need.sh gcc"
    made = tmp_path_factory.mktemp("library") / "wall_clock.so"
    source = ROOT / "tests/support/wall_clock.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(made), str(source)], check=True)
    return made


@pytest.fixture
def clock(tmp_path: Path, library: Path) -> WallClock:
    return WallClock(tmp_path, library)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """One face."""
    image = cv2.imread(str(PICTURE))
    assert image is not None
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "pictures" / "0.png"
    cv2.imwrite(str(path), cv2.resize(image[5:295, 75:365], (145, 145)))
    return path


class Scene:
    """The whole path over two machines, with a camera that sees one face in each of 30 frames a second."""

    def __init__(self, folder: Path, library: Path, picture: Path, python_path: str = "") -> None:
        self.picture = picture
        self.edge, self.cloud = WallClock(folder / "edge", library), WallClock(folder / "cloud", library)
        path = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), python_path]))}
        self.stack = LocalStack(
            folder,
            settings={
                DETECTOR: self.edge.environment | path | {"VIDEO_SOURCE": str(picture), "VIDEO_LOOP": "true"},
                FORWARDER: self.edge.environment | path,
                SAVER: self.cloud.environment | path,
            },
        )
        for broker, clock in ((self.stack.edge_broker, self.edge), (self.stack.cloud_broker, self.cloud)):
            broker._env = {"PATH": os.environ["PATH"]} | clock.environment

    def faces(self) -> list[str]:
        """The keys of those in the bucket, in the order of capture."""
        keys = [key for key in self.stack.s3.objects() if key.startswith("faces/")]
        # Within a run ids count on, whatever the clock does.
        return sorted(keys, key=lambda key: _stamp_and_id(key)[1])

    def faces_flow(self, count: int = 20, *, within: float = 20) -> None:
        """Waits until so many more of them are in the bucket."""
        wanted = len(self.faces()) + count
        eventually(lambda: len(self.faces()) >= wanted, within=within, what="faces do not flow")

    def end(self) -> list[str]:
        """Takes the picture away, lets all run dry, and gives the keys of all faces that were found."""
        detector = self.stack.programs[DETECTOR]
        self.picture.unlink()
        eventually(lambda: not detector.running, within=40, what=detector.log_tail)
        made = self.stack.stop_figures()
        assert made["confirmed"] == made["faces"] > 0
        eventually(lambda: len(self.faces()) >= made["faces"], what="not all faces are in the bucket")
        keys = self.faces()
        assert len(keys) == made["faces"]
        return keys

    def figure(self, program: str, name: str) -> float:
        return self.stack.metrics(program)[f"facedetection_{name}"]

    def assert_nothing_was_noticed(self) -> None:
        """No link was lost, nothing was sent or written again."""
        for program, name in ((DETECTOR, "edge"), (FORWARDER, "edge"), (FORWARDER, "cloud"), (SAVER, "cloud")):
            assert self.figure(program, f"{name}_broker_connects_total") == 1
        for program in (DETECTOR, FORWARDER):
            assert self.figure(program, "messages_resent_total") == 0
        assert self.figure(SAVER, "messages_repeated_total") == 0
        assert self.figure(SAVER, "store_failures_total") == 0


def _stamp_and_id(key: str) -> tuple[str, str]:
    match = STAMP.search(key)
    assert match is not None, key
    return match[1], match[2]


def jump_about(scene: Scene, *, patience: float = 20) -> list[str]:
    """The life of a device without a battery, and worse; the keys in the order of capture."""
    right = timedelta(0)
    scene.edge.says(BOOTED)
    with scene.stack:
        scene.faces_flow()
        for edge, cloud in (
            (right, right),  # NTP
            (timedelta(seconds=-100), timedelta(minutes=10)),
            (10 * 365 * DAY, timedelta(minutes=-10)),
            (BOOTED - datetime.now(UTC), right),
            (right, right),
        ):
            scene.edge.is_off(edge)
            scene.cloud.is_off(cloud)
            scene.faces_flow(within=patience)
        scene.assert_nothing_was_noticed()
        return scene.end()


def test_no_face_is_lost_or_doubled_while_clocks_jump_by_years(tmp_path: Path, library: Path, picture: Path) -> None:
    """No timer fires, nothing stalls, and keys sort but where a clock that was years ahead was set right."""
    scene = Scene(tmp_path, library, picture)
    keys = jump_about(scene)
    stamps = [_stamp_and_id(key)[0] for key in keys]
    assert len(set(stamps)) == len(stamps)
    assert stamps[0] >= f"{NOT_SET_BEFORE:%Y%m%dT%H%M%S}"
    assert sum(after < before for before, after in pairwise(stamps)) == 1
    log = scene.stack.programs[DETECTOR].log_text()
    lines = {"the clock is not set": 2, "the clock is set": 2, "the clock went from": 1}
    assert {line: log.count(line) for line in lines} == lines


def test_the_jumps_would_show_a_timer_on_the_wall_clock(tmp_path: Path, library: Path, picture: Path) -> None:
    """The same programs with the wall clock in the monotonic clock's place do not come through."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text("import time; time.monotonic = time.time")
    scene = Scene(tmp_path, library, picture, python_path=str(tmp_path / "broken"))
    with pytest.raises(AssertionError, match="faces do not flow"):
        jump_about(scene, patience=5)


def test_a_saver_whose_clock_is_wrong_keeps_all_until_it_is_right(tmp_path: Path, library: Path, picture: Path) -> None:
    """A store refuses what is signed by a clock that is off by more than 15 minutes."""
    scene = Scene(tmp_path, library, picture)
    with scene.stack:
        scene.faces_flow()
        for offset in (400 * DAY, -400 * DAY):
            scene.cloud.is_off(offset)
            eventually(lambda: scene.figure(SAVER, "store_up") == 0, what="the store does not mind")
            scene.cloud.is_off(timedelta(0))
            scene.faces_flow(60)
        scene.end()


def test_a_certificate_of_the_future_is_waited_for(tmp_path: Path, clock: WallClock, start_broker: StartBroker) -> None:
    """A device in 1970 trusts no broker; once its clock is set it does, without a restart."""
    authority = Authority(tmp_path)
    pair = authority.issue("broker")
    edge, cloud = start_broker(), start_broker(tls=ListenerTls(pair.cert, pair.key))
    settings = clock.environment | {"CLOUD_MQTT_CA_FILE": str(authority.cert)}
    clock.says(BOOTED)
    with (
        SendingSide(edge.url, tmp_path / "detector.db") as detector,
        forwarder(tmp_path, edge.url, cloud.url, **settings) as program,
        TakingSide(cloud.url, tls=TlsFiles(ca=authority.cert)) as keeper,
    ):
        detector.put(b"a face")
        program.expect("outbox_messages", 1)
        program.expect_line("not yet valid")
        clock.is_off(timedelta(0))
        program.expect("outbox_messages", 0)
        assert keeper.payloads == [b"a face"]


def test_faces_of_a_device_that_reboots_without_ntp_sort_after_those_before(
    tmp_path: Path, clock: WallClock, picture: Path
) -> None:
    """Also when it does so more than once, and after its clock has been set again."""
    for number in range(1, 5):
        shutil.copy(picture, picture.with_name(f"{number}.png"))
    outbox = tmp_path / "outbox.db"
    settings = {
        "VIDEO_SOURCE": str(picture.parent),
        "VIDEO_REALTIME": "false",
        "EDGE_ID": "tx2",
        "MQTT_URL": "mqtt://127.0.0.1:9",
        "OUTBOX_PATH": str(outbox),
        "DRAIN_SECONDS": "0",
    }
    # The system's own clock is right and so far behind: the times of files that it writes are of no help.
    now = datetime.now(UTC) + 30 * DAY
    for boot in (now, BOOTED, BOOTED + DAY, now + DAY):
        clock.says(boot)
        program = Program(DETECTOR, tmp_path, settings | clock.environment)
        program.start()
        assert program.wait(20) == 0, program.log_tail()
    with closing(sqlite3.connect(outbox)) as db:
        rows = db.execute("SELECT properties FROM outbox ORDER BY seq").fetchall()
    events = [dict(json.loads(properties)) for (properties,) in rows]
    assert len({event["id"] for event in events}) == len(events) == 20
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times == sorted(set(times))
    assert times[0] >= now
    assert times[-6] < now + timedelta(minutes=1) < now + DAY <= times[-5]


JUMPS = pytest.mark.parametrize("jump", [3 * DAY, 40 * 365 * DAY, -40 * 365 * DAY])
IMAGES = pytest.mark.parametrize("image", ["edge_mqtt_broker", "cloud_mosquitto"])


def broker_of(image: str, folder: Path, clock: WallClock) -> Mosquitto:
    broker = Mosquitto(folder / image, base_config=ROOT / image / "mosquitto.conf")
    broker._env = {"PATH": os.environ["PATH"]} | clock.environment
    return broker


def while_the_clock_jumps(port: int, clock: WallClock, jump: timedelta) -> list[bytes]:
    """Pictures that the broker has acknowledged, before and after it jumped."""
    pictures = [b"before", b"at once", b"later"]
    with plain_client(port) as camera:
        for picture in pictures:
            # After each round of work the broker looks which sessions have ended.
            publish(camera, TOPIC, picture)
            clock.is_off(jump)
    return pictures


@JUMPS
@IMAGES
def test_a_plain_picture_outlasts_a_jump_of_the_broker_s_clock_while_its_taker_restarts(
    tmp_path: Path, clock: WallClock, image: str, jump: timedelta
) -> None:
    """It has no Response Topic, so nobody would send it again."""
    with broker_of(image, tmp_path, clock) as broker:
        with TakingSide(broker.url):
            pass
        pictures = while_the_clock_jumps(broker.port, clock, jump)
        with TakingSide(broker.url) as taker:
            eventually(lambda: taker.payloads == pictures, within=20, what=lambda: f"only {taker.payloads} came")


@IMAGES
def test_a_plain_subscriber_s_session_outlasts_it_too(tmp_path: Path, clock: WallClock, image: str) -> None:
    with broker_of(image, tmp_path, clock) as broker:
        command = ("mosquitto_sub", "-p", str(broker.port), "-i", "plain", "-c", "-q", "1", "-t", TOPIC)
        subprocess.run([*command, "-E"], check=True, timeout=20)  # ends when it has subscribed
        pictures = while_the_clock_jumps(broker.port, clock, 40 * 365 * DAY)
        done = subprocess.run([*command, "-C", "3", "-W", "20"], capture_output=True, check=False, timeout=30)
        assert done.stdout.splitlines() == pictures


def test_a_restarted_forwarder_gets_what_came_meanwhile_whatever_the_clock_did(
    tmp_path: Path, clock: WallClock, start_broker: StartBroker
) -> None:
    cloud = start_broker()
    with broker_of("edge_mqtt_broker", tmp_path, clock) as edge, TakingSide(cloud.url) as keeper:
        program = forwarder(tmp_path, edge.url, cloud.url)
        with program:
            program.expect("edge_broker_up", 1)
        pictures = while_the_clock_jumps(edge.port, clock, 3 * DAY)
        with program:
            eventually(lambda: keeper.payloads == pictures, within=20, what=program.log_tail)
