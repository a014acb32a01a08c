"""The saver as a process, between a real broker and a real store."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, new_id
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.parts import SendingSide, numbered
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import BUCKET, Program, saver
from tests.support.waiting import at_least, eventually, never

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@contextmanager
def started(program: Program) -> Iterator[Program]:
    """The program, connected; it is ended with the block."""
    with program:
        program.expect("cloud_broker_up", 1)
        yield program


def contents(s3: S3Server) -> dict[str, bytes]:
    return {key: path.read_bytes() for key, path in s3.objects(BUCKET).items()}


def today() -> str:
    return f"{datetime.now(UTC):%Y/%m/%d}"


def faces(edge: SendingSide, count: int, *, first: int = 0) -> dict[str, bytes]:
    """Sends face events; their keys and contents."""
    made = {}
    for payload in numbered(count, first=first):
        event = FaceEvent(new_id(), "tx2", "cam0", datetime.now(UTC), frame=1)
        edge.outbox.put(event.id.encode(), event.to_message(TOPIC, PNG + payload), lambda: None)
        stamp = f"{event.time:%Y%m%dT%H%M%S.%fZ}"
        made[f"faces/tx2/cam0/{event.time:%Y/%m/%d}/{stamp}-{event.id}.png"] = PNG + payload
    return made


def assert_ends_well(program: Program) -> None:
    before = time.monotonic()
    assert program.terminate(timeout=15) == 0, program.log_tail()
    assert time.monotonic() - before < 10
    assert "stopped: " in program.log_text()
    assert "Traceback" not in program.log_text()


def test_faces_end_up_in_the_bucket_once_each(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """Under the keys of the design, byte for byte, and confirmed to their sender; no secret is in the log."""
    with started(saver(tmp_path, broker.url, s3, LOG_LEVEL="debug")) as program:
        with SendingSide(broker.url, tmp_path / "outbox.db") as edge:
            made = faces(edge, 300)
            eventually(lambda: edge.outbox.confirmed == 300)
        assert contents(s3) == made
        assert program.figure("objects_stored_total") == 300
        assert program.figure("latency_seconds_count") == 300
        assert_ends_well(program)
    assert s3.secret_access_key not in program.log_text()
    assert s3.access_key_id not in program.log_text()


def test_another_picture_under_the_same_key_is_no_repeated_message(
    broker: Mosquitto, s3: S3Server, tmp_path: Path
) -> None:
    """It is somebody's mistake, but nothing is confirmed unseen: the last one is stored."""
    event = FaceEvent(new_id(), "tx2", "cam0", datetime.now(UTC), frame=1)
    with (
        started(saver(tmp_path, broker.url, s3)) as program,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        for count, picture in enumerate((PNG + b"first", PNG + b"second", PNG + b"second"), start=1):
            edge.outbox.put(new_id().encode(), event.to_message(TOPIC, picture), lambda: None)
            at_least(lambda: edge.outbox.confirmed, count)
        assert list(contents(s3).values()) == [PNG + b"second"]
        assert (program.figure("objects_stored_total"), program.figure("messages_repeated_total")) == (2, 1)


def test_quiet_while_all_is_well(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """A start line, a connection and a stop line."""
    with started(saver(tmp_path, broker.url, s3)) as program, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        # One first: where two make the same folder at once, rclone may answer one of them with 500.
        faces(edge, 1)
        eventually(lambda: edge.outbox.confirmed == 1)
        faces(edge, 20)
        eventually(lambda: edge.outbox.confirmed == 21)
        program.terminate()
        text = [line.split(": ", 1)[1] for line in program.log_text().splitlines()]
    assert [t.split()[0] for t in text] == ["started:", "connected", "stopped:"]


@pytest.mark.parametrize("qos", [0, 1])
def test_the_smoke_tests_work_as_written(broker: Mosquitto, s3: S3Server, tmp_path: Path, qos: int) -> None:
    """MQTT 3.1.1, with paho and with mosquitto_pub: text and picture are in the bucket byte for byte."""
    text = b"Testing message through client"
    picture = tmp_path / "face.png"
    picture.write_bytes(PNG)
    with started(saver(tmp_path, broker.url, s3)) as program:
        with plain_client(broker.port, v5=False) as client:
            publish(client, TOPIC, text, qos=qos)
            publish(client, TOPIC, PNG, qos=qos)
        program.expect("objects_stored_total", 2)
        expected = {
            f"unrecognized/{today()}/{hashlib.sha256(text).hexdigest()}": text,
            f"faces/unattributed/{today()}/{hashlib.sha256(PNG).hexdigest()}.png": PNG,
        }
        assert contents(s3) == expected
        tool = shutil.which("mosquitto_pub")
        assert tool is not None
        more = [tool, "-p", str(broker.port), "-t", TOPIC, "-q", str(qos)]
        subprocess.run([*more, "-m", "another"], check=True)
        subprocess.run([*more, "-f", picture], check=True)
        program.expect("objects_stored_total", 3)
        program.expect("messages_repeated_total", 1)
        assert contents(s3).items() > expected.items()


def test_a_message_that_comes_again_is_not_written_again(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """But confirmed again, for its sender has missed the receipt."""
    with (
        started(saver(tmp_path, broker.url, s3)) as program,
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        plain_client(broker.port) as client,
    ):
        for _ in range(3):
            publish(client, TOPIC, PNG, ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=b"one")
        eventually(lambda: b"\n".join(receipts.payloads).split(b"\n") == [b"one"] * 3)
        assert program.figure("objects_stored_total") == 1


BAD_STORES: list[tuple[str, Callable[[Request], Answer], str]] = [
    ("500", lambda _: Answer(500), "has trouble of its own"),
    ("403", lambda _: Answer(403, b"<Error><Code>AccessDenied</Code></Error>"), "check them, their rights and"),
    ("404", lambda _: Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), "does not exist"),
    ("hotel", lambda _: Answer(200, b"<html>Welcome</html>"), "not as an object store does"),
    ("400", lambda _: Answer(400, b"<Error><Code>InvalidArgument</Code></Error>"), "refuses the object"),
]


@pytest.mark.parametrize(("answer", "said"), [b[1:] for b in BAD_STORES], ids=[b[0] for b in BAD_STORES])
def test_nothing_is_confirmed_before_the_store_has_it(
    broker: Mosquitto, tmp_path: Path, answer: Callable[[Request], Answer], said: str
) -> None:
    """Neither acknowledged nor receipted; tried again with pauses, said once, and stored when the store is well."""
    with (
        FakeHttp(answer) as store,
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        started(saver(tmp_path, broker.url, store.url)) as program,
        plain_client(broker.port) as client,
    ):
        publish(client, TOPIC, PNG, ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=b"one")
        program.expect_line(said)
        eventually(lambda: len(store.requests) >= 2)
        assert receipts.messages == []
        assert program.figure("messages_held") == 1
        assert program.ask("/healthz")[0] == 200
        tried = len(store.requests)
        assert tried < 20
        store.answer = stored
        eventually(lambda: receipts.payloads == [b"one"])
        program.expect("store_up", 1)
        assert program.figure("store_failures_total") < 10
        assert program.figure("objects_refused_total") == 0
        assert program.log_text().count(said) == 1
        assert {r.method for r in store.requests} <= {"PUT", "HEAD", "GET"}
        assert [r.path.partition("=2")[0] for r in store.requests if r.method == "GET"] == ["/faces?list-type"]
        assert {r.body for r in store.requests if r.method == "PUT" and "/refused/" not in r.path} == {PNG}


@pytest.mark.parametrize("trouble", [500, 503, None], ids=["500", "503", "connection ends"])
def test_one_object_that_fails_while_others_are_stored_is_not_the_store_s_trouble(
    broker: Mosquitto, tmp_path: Path, trouble: int | None
) -> None:
    """It is named, and stored when the store takes it; the store's health does not go to and fro."""
    bad = hashlib.sha256(PNG).hexdigest()

    def answer(request: Request) -> Answer:
        if bad not in request.path or "/refused/" in request.path:
            return stored(request)
        if trouble is None:
            raise ConnectionAbortedError
        return Answer(trouble)

    with (
        FakeHttp(answer) as store,
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        started(saver(tmp_path, broker.url, store.url)) as program,
        plain_client(broker.port) as client,
    ):
        publish(client, TOPIC, b"first")
        program.expect("objects_stored_total", 1)
        publish(client, TOPIC, PNG, ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=b"bad")

        def others_go_on() -> bool:
            publish(client, TOPIC, PNG + new_id().encode())
            return "cannot be stored, though others can" in program.log_text()

        eventually(others_go_on, within=60)
        assert f"{bad}.png cannot be stored" in program.log_text()
        assert program.log_text().count("though others can") == 1
        assert program.log_text().count("ERROR") <= 1
        assert program.log_text().count("works again") <= 1
        assert receipts.messages == []
        store.answer = stored
        eventually(lambda: receipts.payloads == [b"bad"])
        program.expect("store_up", 1)


def test_what_a_killed_saver_had_written_is_not_written_again(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """It died before it could say so; its successor asks the store first."""
    written = []
    with listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts, plain_client(broker.port) as client:
        for run in (1, 2):
            with started(saver(tmp_path, broker.url, s3)) as program:
                publish(client, TOPIC, PNG, ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=b"one")
                eventually(lambda: len(receipts.payloads) == run)  # noqa: B023 - it is awaited here
                written.append({path: path.stat().st_mtime_ns for path in s3.objects(BUCKET).values()})
                program.kill()
    assert len(written[0]) == 1
    assert written[0] == written[1]


def test_an_unacknowledged_message_comes_again_after_a_restart(broker: Mosquitto, s3: S3Server, tmp_path: Path) -> None:
    """`kill -9` while the store fails: the broker has the message still, though its sender wanted no receipt."""
    with (
        FakeHttp(lambda _request: Answer(500)) as store,
        started(saver(tmp_path, broker.url, store.url)) as program,
    ):
        with plain_client(broker.port, v5=False) as client:
            publish(client, TOPIC, PNG)
        program.expect("messages_held", 1)
        program.kill()
    with started(saver(tmp_path, broker.url, s3)):
        eventually(lambda: list(contents(s3).values()) == [PNG])


def test_a_store_and_a_broker_that_come_later_are_waited_for(tmp_path: Path, s3: S3Server, broker: Mosquitto) -> None:
    """Each said once; all is stored in the end."""
    s3.kill()
    broker.kill()
    with saver(tmp_path, broker.url, s3) as program, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        made = faces(edge, 50)
        program.expect_line("cannot use the broker")
        broker.start()
        program.expect_line("cannot be used (")
        assert edge.outbox.confirmed == 0
        s3.start()
        eventually(lambda: edge.outbox.confirmed == 50, within=40)
        assert contents(s3) == made
        assert program.log_text().count("ERROR") == 1, program.log_text()
        assert program.log_text().count("WARNING") == 1
        assert "the store works again" in program.log_text()


def test_a_bucket_that_is_missing_is_not_created_and_waited_for(
    tmp_path: Path, s3: S3Server, broker: Mosquitto
) -> None:
    """An operator creates it; the faces are there then."""
    with (
        started(saver(tmp_path, broker.url, s3, COS_BUCKET="later")) as program,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        faces(edge, 20)
        line = program.expect_line("COS_BUCKET later does not exist")
        assert "create it" in line
        assert edge.outbox.confirmed == 0
        assert not (s3.folder / "later").exists()
        s3.create_bucket("later")
        eventually(lambda: edge.outbox.confirmed == 20, within=40)
        assert len(s3.objects("later")) == 20


def test_kills_of_saver_broker_and_store_lose_nothing(tmp_path: Path, s3: S3Server, broker: Mosquitto) -> None:
    """`kill -9` of each in mid-flow: every face is in the bucket, once, whole."""
    program = saver(tmp_path, broker.url, s3)
    with program, SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(3, 4)) as edge:
        made: dict[str, bytes] = {}
        for part in (program, broker, s3) * 2:
            confirmed = edge.outbox.confirmed
            made |= faces(edge, 200, first=len(made))
            at_least(lambda: edge.outbox.confirmed, confirmed + 20)
            part.kill()
            part.start()
        eventually(lambda: len(edge.outbox) == 0, within=60)
        assert contents(s3) == made


def test_sigterm_under_load_and_the_rest_is_stored_after_the_next_start(
    tmp_path: Path, s3: S3Server, broker: Mosquitto
) -> None:
    """Exit status 0 within 10 s."""
    program = saver(tmp_path, broker.url, s3)
    with SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(3, 4)) as edge:
        made = faces(edge, 1500)
        program.start()
        eventually(lambda: edge.outbox.confirmed > 50)
        assert_ends_well(program)
        assert edge.outbox.confirmed < 1500
        with program:
            eventually(lambda: len(edge.outbox) == 0, within=40)
        assert contents(s3) == made


def test_sigterm_before_the_broker_is_there_and_while_it_is_a_black_hole(tmp_path: Path) -> None:
    """Nobody listens, or nobody answers."""
    for i, url in enumerate(("mqtt://127.0.0.1:9", "mqtts://192.0.2.1")):
        (tmp_path / str(i)).mkdir()
        with saver(tmp_path / str(i), url, "http://127.0.0.1:9") as program:
            program.expect_line("started: ")
            assert_ends_well(program)


def test_sigterm_while_the_store_hangs(tmp_path: Path, s3: S3Server, broker: Mosquitto) -> None:
    """What it was trying to write stays with its sender, and is stored after the next start."""
    program = saver(tmp_path, broker.url, s3)
    with SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(3, 4)) as edge:
        with started(program):
            s3.pause()
            made = faces(edge, 100)
            program.expect("messages_held", 64)
            assert_ends_well(program)
        assert edge.outbox.confirmed == 0
        s3.resume()
        with program:
            eventually(lambda: len(edge.outbox) == 0)
        assert contents(s3) == made


def test_two_savers_of_a_group_share_the_work(
    tmp_path: Path, s3: S3Server, start_broker: Callable[..., Mosquitto]
) -> None:
    """A shared subscription; one ends, the other goes on."""
    broker = start_broker()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = saver(tmp_path / "a", broker.url, s3, SAVER_GROUP="savers")
    two = _on_another_host(tmp_path / "b", broker.url, s3)
    with (
        started(one),
        started(two),
        SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(2, 3)) as edge,
    ):
        made = faces(edge, 200)
        eventually(lambda: edge.outbox.confirmed == 200)
        shares = [p.figure("objects_stored_total") for p in (one, two)]
        assert min(shares) > 20
        assert_ends_well(one)
        made |= faces(edge, 100, first=200)
        eventually(lambda: edge.outbox.confirmed == 300)
        assert contents(s3) == made


def _on_another_host(folder: Path, url: str, s3: S3Server) -> Program:
    """A saver whose host name, and so its client id, differs."""
    (folder / "sitecustomize.py").write_text("import socket\nsocket.gethostname = lambda: 'other'\n")
    program = saver(folder, url, s3, SAVER_GROUP="savers")
    assert program._env is not None
    program._env["PYTHONPATH"] += f":{folder}"
    return program


def test_a_flood_while_the_store_is_down_stays_within_bounds(tmp_path: Path, broker: Mosquitto) -> None:
    """The broker keeps what is beyond the window; memory does not grow with it."""
    with (
        FakeHttp(lambda _request: Answer(503)) as store,
        started(saver(tmp_path, broker.url, store.url)) as program,
        plain_client(broker.port, v5=False) as client,
    ):
        for i in range(300):
            client.publish(TOPIC, PNG + b"%d" % i + bytes(100_000), qos=1)
        program.expect("messages_held", 64)
        never(lambda: program.figure("messages_held") > 64, during=0.5)
        assert program.rss_bytes() < 200 * 1024 * 1024
