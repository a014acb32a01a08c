"""Faces that a keeper refuses for good: dead letters, out of the way; and stores that refuse everything: nothing is."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, new_id
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from tests.conftest import StartBroker
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.parts import SendingSide, TakingSide
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import BUCKET, ROOT, Program, forwarder, saver
from tests.support.waiting import eventually, never

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
TOO_LARGE = Answer(400, b"<Error><Code>EntityTooLarge</Code></Error>")
DENIED = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")

Rule = Callable[[Request], Answer | None]


def takes_all(_request: Request) -> None:
    """A rule by which nothing is refused."""


class Front:
    """What stands before a real store and refuses some of its requests, by a rule that may be changed."""

    def __init__(self, s3: S3Server) -> None:
        self.s3 = s3
        self.rule: Rule = takes_all
        self.http = FakeHttp(lambda request: self.rule(request) or self._pass_on(request))

    def _pass_on(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.s3.port, timeout=20)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {"ETag": answer.getheader("ETag", "")})
        finally:
            connection.close()

    def refuse(self, name: str, answer: Answer = TOO_LARGE, *, verdict: Callable[[], object] = lambda: None) -> None:
        """Lets nothing be written that has this in its key; `verdict` is called before the saver makes up its mind."""

        def rule(request: Request) -> Answer | None:
            if "/unrecognized/refused/" in request.path:
                verdict()
            return answer if request.method == "PUT" and name in request.path else None

        self.rule = rule


@pytest.fixture
def front(s3: S3Server) -> Iterator[Front]:
    made = Front(s3)
    with made.http:
        yield made


@pytest.fixture
def cloud(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def keeper(tmp_path: Path, cloud: Mosquitto, front: Front, s3: S3Server) -> Iterator[Program]:
    """A saver whose store stands behind the front."""
    with saver(tmp_path, cloud.url, s3, COS_ENDPOINT=front.http.url, SAVER_WORKERS="4") as program:
        yield program


@pytest.fixture
def edge(tmp_path: Path, cloud: Mosquitto) -> Iterator[SendingSide]:
    """An outbox and its sender in this process."""
    with SendingSide(cloud.url, tmp_path / "edge.db", client_id="edge", resend_after=(3, 4)) as side:
        yield side


@pytest.fixture
def middle(tmp_path: Path, broker: Mosquitto, cloud: Mosquitto) -> Iterator[Program]:
    """A forwarder between the edge broker and the cloud's."""
    with forwarder(tmp_path, broker.url, cloud.url) as program:
        yield program


@pytest.fixture
def detector(tmp_path: Path, broker: Mosquitto) -> Iterator[SendingSide]:
    """A detector's outbox and sender, at the edge broker."""
    with SendingSide(broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as side:
        yield side


def face(side: SendingSide, camera: str = "cam0") -> tuple[str, bytes]:
    """Puts a face that is like no other; its id and picture."""
    event = FaceEvent(new_id(), "tx2", camera, datetime.now(UTC))
    png = PNG + event.id.encode()
    side.outbox.put(event.id.encode(), event.to_message(TOPIC, png), lambda: None)
    return event.id, png


def pictures(front: Front) -> set[bytes]:
    """The faces in the bucket."""
    return {path.read_bytes() for key, path in front.s3.objects(BUCKET).items() if key.startswith("faces/")}


def notes(front: Front) -> list[dict[str, object]]:
    """What the saver left in the bucket about what is not there."""
    found = (path for key, path in front.s3.objects(BUCKET).items() if key.startswith("unrecognized/refused/"))
    return [json.loads(path.read_text()) for path in found]


def dead_letters(outbox: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "face_messages.dead_letters", *args]
    env = os.environ | {"OUTBOX_PATH": str(outbox)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_one_among_200_holds_up_nobody_and_can_be_looked_at_and_sent_again(
    tmp_path: Path, front: Front, keeper: Program, middle: Program, detector: SendingSide
) -> None:
    """A dead letter at the forwarder, said once, counted, exported byte for byte, and delivered in the end."""
    others_are_there = threading.Event()
    front.refuse("/poisoned/", verdict=lambda: others_are_there.wait(60))
    outbox = tmp_path / "forwarder.db"
    good = {face(detector)[1] for _ in range(100)}
    poison, png = face(detector, "poisoned")
    good |= {face(detector)[1] for _ in range(99)}
    keeper.expect("objects_stored_total", 199)
    assert pictures(front) == good
    assert middle.figure("outbox_aside_messages") == 0
    others_are_there.set()
    middle.expect("outbox_aside_messages", 1)
    middle.expect("outbox_messages", 0)
    line = middle.expect_line(poison)
    assert "EntityTooLarge" in line
    assert "face_messages.dead_letters list" in line
    keeper.expect("objects_refused_total", 1)
    keeper.expect("objects_parked", 0)
    assert keeper.figure("messages_held") == 0
    assert keeper.figure("store_up") == 1
    (line,) = [line for line in keeper.log_text().splitlines() if "ERROR" in line]
    assert f"{poison}.png" in line
    assert "EntityTooLarge" in line
    (note,) = notes(front)
    assert str(note["key"]).endswith(f"{poison}.png")
    assert "EntityTooLarge" in str(note["refused"])

    shown = dead_letters(outbox, "list").stdout.splitlines()
    assert shown[0].startswith(f"{poison}  ")
    assert "EntityTooLarge" in shown[0]
    assert shown[1].startswith("1 dead letters")
    assert dead_letters(outbox, "export", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out" / f"{poison}.png").read_bytes() == png

    front.rule = takes_all
    assert "stop the program first" in dead_letters(outbox, "retry", "--all").stderr
    middle.terminate()
    assert dead_letters(outbox, "retry", "--all").returncode == 0
    middle.start()
    keeper.expect("objects_stored_total", 200)
    middle.expect("outbox_messages", 0)
    assert middle.figure("outbox_aside_messages") == 0
    assert pictures(front) == good | {png}


@pytest.mark.parametrize("answer", [TOO_LARGE, DENIED], ids=["too large", "forbidden name"])
def test_more_than_a_window_of_them_in_a_row_are_passed(
    front: Front, keeper: Program, edge: SendingSide, answer: Answer
) -> None:
    """Though the store takes nothing else meanwhile; no answer's kind is needed to tell."""
    front.refuse("/poisoned/", answer)
    for _ in range(40):
        face(edge, "poisoned")
    good = {face(edge)[1] for _ in range(5)}
    eventually(lambda: edge.outbox.confirmed == 5, within=60)
    eventually(lambda: edge.outbox.totals.dead_letters == 40, within=60)
    assert pictures(front) == good
    assert len(notes(front)) == 40
    assert keeper.figure("objects_refused_total") == 40
    assert keeper.figure("store_up") == 1


@pytest.mark.parametrize(
    ("answer", "said"), [(TOO_LARGE, "refuses the object"), (DENIED, "check them")], ids=["400", "403"]
)
def test_a_store_that_refuses_everything_blocks_and_nothing_is_a_dead_letter(
    front: Front, keeper: Program, edge: SendingSide, answer: Answer, said: str
) -> None:
    """It may be the settings: said once, and all of it arrives when they are mended, without a hand laid on."""
    front.refuse("/", answer)
    good = {face(edge)[1] for _ in range(40)}
    keeper.expect_line(said)
    keeper.expect("store_up", 0)
    keeper.expect("messages_held", 16)
    assert keeper.log_text().count("ERROR") == 1
    assert keeper.figure("objects_refused_total") == 0
    assert (edge.outbox.confirmed, edge.outbox.totals.dead_letters) == (0, 0)
    front.rule = takes_all
    eventually(lambda: edge.outbox.confirmed == 40, within=60)
    assert pictures(front) == good
    assert edge.outbox.totals.dead_letters == 0
    assert keeper.figure("objects_refused_total") == 0
    assert "dead letter" not in keeper.log_text()


def test_wrong_credentials_block_and_nothing_is_a_dead_letter(
    tmp_path: Path, cloud: Mosquitto, front: Front, edge: SendingSide
) -> None:
    """The real store's own refusal; with the right ones everything is stored."""
    good = {face(edge)[1] for _ in range(40)}
    with saver(tmp_path, cloud.url, front.s3, COS_HMAC_SECRET_ACCESS_KEY="something-else") as program:
        program.expect_line("the credentials may not write")
        assert (edge.outbox.confirmed, edge.outbox.totals.dead_letters) == (0, 0)
    with saver(tmp_path, cloud.url, front.s3):
        eventually(lambda: edge.outbox.confirmed == 40, within=60)
    assert pictures(front) == good
    assert edge.outbox.totals.dead_letters == 0
    assert notes(front) == []


def test_one_forbidden_name_on_top_of_a_policy_that_allows_no_notes(
    front: Front, keeper: Program, edge: SendingSide
) -> None:
    """That others are stored meanwhile tells as much."""
    front.rule = lambda request: DENIED if "/poisoned/" in request.path or "/refused/" in request.path else None
    face(edge, "poisoned")
    keeper.expect("store_up", 0)
    good = {face(edge)[1] for _ in range(5)}
    eventually(lambda: edge.outbox.confirmed == 5)

    def is_dead() -> bool:
        good.add(face(edge)[1])
        return edge.outbox.totals.dead_letters == 1

    eventually(is_dead, within=60)
    eventually(lambda: edge.outbox.confirmed == len(good))
    assert pictures(front) == good


@pytest.mark.parametrize("code", ["BadDigest", "InvalidRequest"])
def test_a_hiccup_is_no_refusal(front: Front, keeper: Program, edge: SendingSide, code: str) -> None:
    """A few bad answers, as for what was garbled on the way: it is tried again, and stored."""
    answers = [Answer(400, f"<Error><Code>{code}</Code></Error>".encode())] * 3

    def rule(request: Request) -> Answer | None:
        return answers.pop() if request.method == "PUT" and answers else None

    front.rule = rule
    _, png = face(edge)
    eventually(lambda: edge.outbox.confirmed == 1)
    assert pictures(front) == {png}
    assert (keeper.figure("objects_refused_total"), edge.outbox.totals.dead_letters) == (0, 0)
    assert "ERROR" not in keeper.log_text()


def test_what_has_no_sender_to_go_back_to_is_held(
    front: Front, keeper: Program, edge: SendingSide, cloud: Mosquitto
) -> None:
    """A plain message: never acknowledged, out of the way of others, and stored after a restart in a mended world."""
    front.refuse("/unattributed/")
    keeper.expect("cloud_broker_up", 1)
    with plain_client(cloud.port, v5=False) as client:
        publish(client, TOPIC, PNG)
    line = keeper.expect_line("no sender to go back to")
    assert "EntityTooLarge" in line
    keeper.expect("objects_parked", 1)
    good = face(edge)[1]
    eventually(lambda: edge.outbox.confirmed == 1)
    assert pictures(front) == {good}
    assert keeper.figure("objects_refused_total") == 1
    assert keeper.figure("messages_held") == 1
    keeper.kill()
    front.rule = takes_all
    keeper.start()
    eventually(lambda: pictures(front) == {good, PNG})


def test_a_saver_killed_before_it_gives_back_loses_nothing(front: Front, keeper: Program, edge: SendingSide) -> None:
    """`kill -9` at the last moment: its successor comes to the same end."""
    at_the_end = threading.Event()
    front.refuse("/poisoned/", verdict=at_the_end.set)
    face(edge, "poisoned")
    good = {face(edge)[1] for _ in range(20)}
    assert at_the_end.wait(30)
    keeper.kill()
    before = edge.outbox.totals.dead_letters
    keeper.start()
    eventually(lambda: edge.outbox.totals.dead_letters == 1, within=40)
    eventually(lambda: len(edge.outbox) == 0, within=40)
    assert before <= 1
    assert pictures(front) == good


def test_a_forwarder_killed_before_it_keeps_a_dead_letter_loses_nothing(
    tmp_path: Path, front: Front, keeper: Program, middle: Program, detector: SendingSide
) -> None:
    """`kill -9` when the refusal is on its way: the face is still in the outbox, sent again and refused again."""
    paused = threading.Event()
    front.refuse("/poisoned/", verdict=lambda: paused.wait(60))
    outbox = tmp_path / "forwarder.db"
    _, png = face(detector, "poisoned")
    good = {face(detector)[1] for _ in range(20)}
    keeper.expect("messages_taken_total", 21)
    eventually(lambda: len(detector.outbox) == 0)
    middle.pause()
    paused.set()
    keeper.expect("objects_refused_total", 1)
    keeper.expect("messages_held", 0)
    middle.kill()
    assert dead_letters(outbox, "list").stdout.startswith("0 dead letters")
    middle.start()
    middle.expect("outbox_aside_messages", 1, within=60)
    middle.expect("outbox_messages", 0)
    assert dead_letters(outbox, "export", str(tmp_path / "out")).returncode == 0
    assert [file.read_bytes() for file in (tmp_path / "out").glob("*.png")] == [png]
    assert pictures(front) == good


def test_forged_and_malformed_refusals_do_nothing(
    cloud: Mosquitto, edge: SendingSide, caplog: pytest.LogCaptureFixture
) -> None:
    """They make no dead letter, nor is one of them taken for a receipt."""
    with TakingSide(cloud.url, hold=True) as keeper, plain_client(cloud.port) as client:
        known = face(edge)[0].encode()
        eventually(lambda: len(keeper.held) == 1)
        topic, why = f"{RECEIPTS_TOPIC}/edge", ("refused", "because")
        publish(client, topic, b"", CorrelationData=b"unknown", UserProperty=[why])
        publish(client, topic, b"", UserProperty=[why])
        publish(client, topic, known, UserProperty=[why])
        publish(client, topic, known, CorrelationData=known, UserProperty=[why])
        publish(client, topic, b"", CorrelationData=known, UserProperty=[why, why])
        publish(client, topic, b"", CorrelationData=known)
        publish(client, topic, b"", CorrelationData=known, UserProperty=[("Refused", "because")])
        publish(client, f"{topic}/below", b"", CorrelationData=known, UserProperty=[why])
        with listening(cloud.port, topic) as answers:  # what has come here has come there
            publish(client, topic, b"unknown")
            eventually(lambda: answers.messages)
        never(lambda: (edge.outbox.totals.dead_letters, edge.outbox.confirmed) != (0, 0), during=0.3)
        assert len(edge.outbox) == 1
        assert "dead letter" not in caplog.text
        publish(client, topic, b"", CorrelationData=known, UserProperty=[("refused", "\u202e" + "x" * 5000)])
        eventually(lambda: edge.outbox.totals.dead_letters == 1)
        (line,) = [r.getMessage() for r in caplog.records if "dead letter" in r.getMessage()]
        assert line.isprintable()
        assert len(line) < 1000
        keeper.release()
        eventually(lambda: edge.outbox.confirmed == 1)  # the keeper that has it, has the last word


def test_a_refusal_names_no_message_to_who_knows_receipts_alone(cloud: Mosquitto, edge: SendingSide) -> None:
    """Which is one id a line of the payload: there is none."""
    with TakingSide(cloud.url, hold=True) as keeper, listening(cloud.port, f"{RECEIPTS_TOPIC}/edge") as answers:
        message_id = face(edge)[0].encode()
        eventually(lambda: len(keeper.held) == 1)
        assert keeper.held.pop().refuse("because")
        (answer,) = eventually(lambda: answers.messages)
        assert (answer.payload, answer.retain) == (b"", False)
        assert answer.properties is not None
        properties = answer.properties.json()  # type: ignore[no-untyped-call] # paho's is half typed
        assert bytes.fromhex(properties["CorrelationData"]) == message_id
        assert properties["UserProperty"] == [("refused", "because")]
        eventually(lambda: edge.outbox.totals.dead_letters == 1)
        eventually(lambda: keeper.taker.held == 0)


def test_what_is_too_large_for_a_taker_goes_back(cloud: Mosquitto, edge: SendingSide) -> None:
    """Else it would be sent for ever."""
    with TakingSide(cloud.url) as keeper:
        keeper.taker._max_size = 1000
        edge.put(bytes(2000))
        edge.put(b"small")
        eventually(lambda: (edge.outbox.totals.dead_letters, edge.outbox.confirmed) == (1, 1))
        assert keeper.payloads == [b"small"]
        assert keeper.taker.refused == 1
