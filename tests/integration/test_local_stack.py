"""The local stack itself: what the demo, the other tests and the benchmarks stand on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import cv2.data
import ibm_boto3
import paho.mqtt.client as mqtt
import pytest
from ibm_botocore.client import Config
from ibm_botocore.exceptions import ClientError
from paho.mqtt.enums import CallbackAPIVersion

from dev.stack.clip import face_boxes, make_clip
from dev.stack.demo import DemoError, prepare
from dev.stack.figures import differences, percentile, stored_faces
from dev.stack.mosquitto import Mosquitto
from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.proxy import Proxy
from dev.stack.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Box = tuple[int, int, int, int]

# IBM's SDK does so, from Python 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning:ibm_botocore")

ROOT = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-c", "import time; sum(range(3_000_000)); print('up', flush=True); time.sleep(60)"]


def await_true(condition: Callable[[], bool], *, seconds: float = 10, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has waited for yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children_of(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            children += map(int, (task / "children").read_text().split())
    return children


def s3_client(server: S3Server) -> Any:
    return ibm_boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
    )


def round_trip(broker: Mosquitto, payload: bytes) -> bytes:
    """Publish to the broker and return what a subscriber got."""
    got: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: got.append(bytes(message.payload))
    client.connect("127.0.0.1", broker.port)
    client.subscribe("there", qos=1)
    client.publish("there", payload, qos=1)
    client.loop_start()
    try:
        await_true(lambda: bool(got), what="the message comes back")
    finally:
        client.disconnect()
        client.loop_stop()
    return got[0]


def test_a_process_is_stopped_frozen_killed_and_started_again(tmp_path: Path) -> None:
    """Each of these does what its name says, and a restart takes the same arguments."""
    process = ManagedProcess("sleeper", SLEEPER, log=tmp_path / "log")
    with process:
        process.wait_ready(lambda: "up" in process.log_text())
        first = process.pid
        assert process.rss_bytes() > 1_000_000
        assert process.peak_rss_bytes() >= process.rss_bytes()
        assert process.cpu_seconds() > 0
        process.pause()
        await_true(lambda: "\nState:\tT" in Path(f"/proc/{first}/status").read_text(), what="it stands still")
        process.resume()
        process.restart()
        assert process.pid != first
        assert is_gone(first)
        assert process.kill() == -signal.SIGKILL
        assert process.rss_bytes() == 0
        process.start()
        process.pause()
        assert process.terminate(timeout=5) == -signal.SIGTERM, "a frozen one ends, too"
    assert not process.running


def test_a_process_that_dies_while_it_is_awaited_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The error says how it ended and what it said last, at once and not at the deadline."""
    args = [sys.executable, "-c", "import sys; sys.exit('no such camera')"]
    process = ManagedProcess("camera", args, log=tmp_path / "log", ready=lambda: False)
    began = time.monotonic()
    with pytest.raises(ProcessError, match=r"camera ended with exit status 1(.|\n)*no such camera"):
        process.start()
    assert time.monotonic() - began < 10


def test_a_process_that_never_gets_ready_is_an_error(tmp_path: Path) -> None:
    """The wait is bounded."""
    with ManagedProcess("sleeper", SLEEPER, log=tmp_path / "log") as process:
        process.wait_ready(lambda: "up" in process.log_text())
        with pytest.raises(ProcessError, match="not ready after 0 s"):
            process.wait_ready(free_port(), timeout=0.1)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    """What cannot be started is told by its name."""
    process = ManagedProcess("x", ["/nowhere/program"], log=tmp_path / "log", ready=lambda: False)
    with pytest.raises(ProcessError, match="cannot start /nowhere/program: No such file"):
        process.start()


def test_free_ports_are_distinct_and_cannot_be_taken_by_a_client() -> None:
    """A port of the ephemeral range could be taken while its server restarts."""
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert max(ports) < lowest_ephemeral
    with socket.create_server(("127.0.0.1", ports[0])):
        pass


def test_a_link_that_swallows_holds_everything_back_until_it_is_well(tmp_path: Path) -> None:
    """As TCP repeats it; a link that refuses ends connections, takes none, and is then there on the same port."""
    with Mosquitto(tmp_path) as broker, Proxy(broker.port) as link:
        with socket.create_connection(("127.0.0.1", link.port)) as sock:
            await_true(lambda: link.connections == 1, what="the link takes the connection")
            link.swallow = True
            sock.sendall(bytes.fromhex("10 10 00 04") + b"MQTT" + bytes.fromhex("05 02 00 3c 00 00 03") + b"one")
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            link.swallow = False
            sock.settimeout(10)
            assert sock.recv(1) == b"\x20", "the broker's CONNACK"
            sock.recv(1000)
            link.refuse = True
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", link.port))
        link.refuse = False
        socket.create_connection(("127.0.0.1", link.port)).close()


def test_the_broker_keeps_its_port_over_kill_and_restart(tmp_path: Path) -> None:
    """A broker that was killed comes back where its clients look for it."""
    with Mosquitto(tmp_path) as broker:
        url = broker.url
        assert round_trip(broker, b"before") == b"before"
        broker.kill()
        broker.start()
        assert broker.url == url
        assert round_trip(broker, b"after") == b"after"


def test_the_broker_takes_an_images_configuration_without_its_places(tmp_path: Path) -> None:
    """Listener, user and files of the image are left out, the rest applies: here, a limit of the packets' size."""
    base = tmp_path / "image.conf"
    base.write_text(
        "# comment\nlistener 1883\nuser mosquitto\nlog_dest stdout\npassword_file /mosquitto/passwords\n"
        "allow_anonymous true\nmax_packet_size 1000\n"
    )
    limits: list[int] = []
    with Mosquitto(tmp_path / "broker", base_config=base) as broker:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.on_connect = lambda *args: limits.append(args[-1].MaximumPacketSize)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        await_true(lambda: bool(limits), what="the broker answers")
        client.disconnect()
        client.loop_stop()
    assert limits == [1000]


def test_a_broker_with_a_wrong_configuration_tells_why(tmp_path: Path) -> None:
    """Mosquitto's own words are in the error."""
    with pytest.raises(ProcessError, match="no_such_option"):
        Mosquitto(tmp_path, config_lines=["no_such_option 1"]).start()


def test_the_s3_server_keeps_objects_as_files_over_a_kill(tmp_path: Path) -> None:
    """What was answered is a file with the object's bytes, and still there after `kill -9`, on the same port."""
    server = S3Server(tmp_path)
    server.create_bucket("early")
    with server:
        server.create_bucket("late")
        client = s3_client(server)
        for bucket in ("early", "late"):
            client.put_object(Bucket=bucket, Key="faces/a b/ü.png", Body=b"picture")
            assert server.objects(bucket)["faces/a b/ü.png"].read_bytes() == b"picture"
        server.kill()
        server.start()
        assert client.get_object(Bucket="early", Key="faces/a b/ü.png")["Body"].read() == b"picture"
        shutil.rmtree(server.folder / "late")
        server.forget()
        await_true(lambda: not exists(client, "late"), what="the bucket is gone for clients, too")
        assert list(server.objects("early")) == ["faces/a b/ü.png"]


def exists(client: Any, bucket: str) -> bool:
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        return False
    return True


def test_the_s3_server_keeps_no_half_object_and_no_wrong_one(tmp_path: Path) -> None:
    """An upload that is cut off, or whose Content-MD5 does not match, leaves nothing under its key."""
    with S3Server(tmp_path) as server:
        client = s3_client(server)
        with pytest.raises(ClientError, match="BadDigest"):
            client.put_object(Bucket="faces", Key="a.png", Body=b"abc", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
        url = client.generate_presigned_url("put_object", Params={"Bucket": "faces", "Key": "a.png"})
        head = (
            f"PUT /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 400000\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(head.encode() + b"x" * 200_000)
            await_true(lambda: bool(list(server.folder.rglob(".rclone_*"))), what="the upload is under way")
            assert server.objects("faces") == {}
            server.kill()
        server.start()
        assert server.objects("faces") == {}


def test_the_s3_server_lets_nobody_in_without_its_secret(tmp_path: Path) -> None:
    """The key pair is its own, random, and not on its command line."""
    with S3Server(tmp_path) as server:
        command = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert server.secret_access_key not in command
        server.secret_access_key = "another"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            s3_client(server).put_object(Bucket="faces", Key="a", Body=b"")


def test_bucket_names_lead_nowhere_else(tmp_path: Path) -> None:
    """A bucket's name is a folder's name."""
    with pytest.raises(ValueError, match="no bucket name"):
        S3Server(tmp_path).create_bucket("../elsewhere")


def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """`kill -9` of the parent runs no handler of its own, and yet nothing is left behind."""
    program = f"""
        from pathlib import Path
        from dev.stack.mosquitto import Mosquitto
        from dev.stack.s3 import S3Server
        with Mosquitto(Path({str(tmp_path)!r})) as broker, S3Server(Path({str(tmp_path)!r})) as server:
            print(broker.pid, server.pid, flush=True)
            input()
    """
    args = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(is_gone(pid) for pid in pids)
        parent.kill()
        await_true(lambda: all(is_gone(pid) for pid in pids), seconds=5, what="the servers are gone")


def test_servers_end_when_their_parent_forgets_them(tmp_path: Path) -> None:
    """A failed test, say, that never comes to stop what it started."""
    program = f"""
        from pathlib import Path
        from dev.stack.mosquitto import Mosquitto
        broker = Mosquitto(Path({str(tmp_path)!r}))
        broker.start()
        print(broker.pid, flush=True)
        raise SystemExit("failed")
    """
    args = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(args, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert ended.stderr == "failed\n"
    await_true(lambda: is_gone(int(ended.stdout)), seconds=5, what="the broker is gone")


def test_the_clip_shows_faces_that_the_cascade_finds(tmp_path: Path) -> None:
    """Nearly every whole face is found, there are none in between, and two at once at times."""
    clip = tmp_path / "clip.avi"
    assert make_clip(clip, seconds=10) == 300
    assert clip.stat().st_size < 20_000_000
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")
    capture = cv2.VideoCapture(str(clip))
    wanted = found = 0
    at_once = set()
    for number in range(300):
        whole, frame = capture.read()
        assert whole
        if number % 10:
            continue
        boxes = face_boxes(number)
        at_once.add(len(boxes))
        hits = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.2, 3)
        wanted += len(boxes)
        found += sum(any(is_inside(hit, box) for hit in hits) for box in boxes)
    capture.release()
    assert at_once == {0, 1, 2}
    assert found >= 0.9 * wanted


def is_inside(hit: Sequence[int], box: Box) -> bool:
    """Whether the middle of a detection lies in the face's box."""
    x, y = hit[0] + hit[2] / 2, hit[1] + hit[3] / 2
    return box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]


def test_the_clip_is_always_the_same(tmp_path: Path) -> None:
    """Two runs give the same bytes, so that figures can be compared."""
    clips = [tmp_path / "one.avi", tmp_path / "two.avi"]
    for clip in clips:
        make_clip(clip, seconds=2, size=(320, 240))
    assert clips[0].read_bytes() == clips[1].read_bytes()


def test_a_folder_of_somebodys_own_is_left_alone(tmp_path: Path) -> None:
    """Only a folder that a demo has made is emptied."""
    precious = tmp_path / "thesis.tex"
    precious.write_text("chapter 1")
    with pytest.raises(DemoError, match="not the demo's own"):
        prepare(tmp_path)
    assert precious.read_text() == "chapter 1"
    with pytest.raises(DemoError, match="is no folder"):
        prepare(precious)


def test_the_demos_own_folder_is_emptied_but_for_its_clips(tmp_path: Path) -> None:
    """What an earlier run stored does not count for this one; a link is removed, not what it leads to."""
    folder, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    prepare(folder)
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("")
    for kept in ("clips", "buckets"):
        (folder / kept).mkdir()
        (folder / kept / "file").write_text("")
    (folder / "link").symlink_to(elsewhere)
    prepare(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".facedetection-demo", "clips"]
    assert (folder / "clips" / "file").exists()
    assert (elsewhere / "precious").exists()


PNG = b"\x89PNG\r\n\x1a\n...IEND\xaeB`\x82"


def stored(folder: Path, *keys: str, content: bytes = PNG) -> dict[str, Path]:
    files = {key: folder / str(number) for number, key in enumerate(keys)}
    for file in files.values():
        file.write_bytes(content)
    return files


def test_what_was_published_and_what_is_stored_are_compared_by_id(tmp_path: Path) -> None:
    """One missing, one foreign, one twice, one cut short: each is told. All well: nothing."""
    day = "faces/demo/camera/2026/01/02/20260102T"
    one, two = f"{day}030405.000001Z-one.png", f"{day}030405.000002Z-two.png"
    assert differences(["one", "two", "two"], stored(tmp_path, one, two)) == [], "a resend is no second face"
    assert differences(["one", "two"], stored(tmp_path, one)) == ["1 published, but not stored, such as two"]
    assert differences(["one"], stored(tmp_path, one, two)) == ["1 stored, but never published, such as two"]
    twice = stored(tmp_path, one, f"{day}030405.000009Z-one.png")
    assert differences(["one"], twice) == ["1 stored twice, such as one"]
    assert differences([], stored(tmp_path, "unrecognized/x", content=b"text")) == [
        "1 stored under a key that is no face's, such as unrecognized/x",
        "1 stored, but no whole PNG, such as unrecognized/x",
    ]
    assert "no whole PNG" in differences(["one"], stored(tmp_path, one, content=PNG[:-1]))[0]


def test_latency_is_from_the_keys_time_to_the_files(tmp_path: Path) -> None:
    """Captured at 03:04:05.25 UTC, written 0.5 s later."""
    objects = stored(tmp_path, "faces/demo/camera/2026/01/02/20260102T030405.250000Z-one-1.png")
    captured = 1_767_323_045.25
    for file in objects.values():
        os.utime(file, (captured, captured + 0.5))
    (face,) = stored_faces(objects)
    assert face.id == "one-1"
    assert face.latency_seconds == pytest.approx(0.5, abs=1e-3)


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank; nothing measured is 0."""
    assert percentile([], 0.5) == 0
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(100), 0.99) == 99


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of demos that play the same clip, which the first of them makes."""
    return tmp_path_factory.mktemp("demos") / "demo"


# One after the other, on one clip.
the_demo = pytest.mark.xdist_group("demo")


def run_demo(folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dev.stack", "demo", "--folder", str(folder), *args]
    # A group of its own, as on a terminal; nothing of the test's own output gets in between.
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )


@the_demo
def test_the_demo_stores_each_published_face_once(demo_folder: Path) -> None:
    """A short clip goes through the whole path, and the demo says so with exit status 0."""
    with run_demo(demo_folder, "--seconds", "5") as demo:
        out, err = demo.communicate(timeout=90)
    assert demo.returncode == 0, out + err
    told = re.search(r"each of the (\d+) published faces is in the bucket exactly once", out)
    assert told is not None, out
    pictures = list((demo_folder / "buckets" / "faces").rglob("*.png"))
    assert len(pictures) == int(told[1]) > 0
    assert cv2.imread(str(pictures[0])) is not None


@the_demo
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_demo_ends_all_its_processes_when_interrupted(
    demo_folder: Path, number: signal.Signals, status: int
) -> None:
    """Ctrl-C in the middle of it: no traceback, nothing left running."""
    with run_demo(demo_folder, "--seconds", "5") as demo:
        assert demo.stdout is not None
        assert any("faces appear" in line for line in demo.stdout)
        parts = children_of(demo.pid)
        assert len(parts) == 8
        os.killpg(demo.pid, number)
        _, err = demo.communicate(timeout=20)
    assert demo.returncode == status
    assert "Traceback" not in err
    await_true(lambda: all(is_gone(pid) for pid in parts), what="all parts are gone")


@the_demo
@pytest.mark.parametrize("name", ["cloud_saver", "cloud_gallery"])
def test_the_demo_fails_when_a_part_dies(demo_folder: Path, name: str) -> None:
    """It names the part and ends the others."""
    with run_demo(demo_folder, "--seconds", "5") as demo:
        assert demo.stdout is not None
        assert any("faces appear" in line for line in demo.stdout)
        parts = children_of(demo.pid)
        part = next(pid for pid in parts if name in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(part, signal.SIGKILL)
        _, err = demo.communicate(timeout=20)
    assert demo.returncode == 1
    assert err.startswith(f"demo: {name} ended by SIGKILL")
    await_true(lambda: all(is_gone(pid) for pid in parts), what="all parts are gone")


def test_the_demo_says_what_is_wrong_with_a_source(tmp_path: Path) -> None:
    """A file that is not there is told before anything is started."""
    with run_demo(tmp_path / "demo", "--video", str(tmp_path / "none.mp4")) as demo:
        _, err = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert err.startswith(f"demo: {tmp_path}/none.mp4: there is no such file")
