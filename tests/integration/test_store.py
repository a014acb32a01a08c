"""The bucket: real S3 servers, and servers that answer everything else."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from cloud_saver import store as store_module
from cloud_saver.keys import StoredObject, object_for
from cloud_saver.problems import Problem, StoreError
from cloud_saver.settings import SaverSettings
from cloud_saver.store import Store
from face_messages import FaceEvent
from local_stack.s3 import S3Server
from tests.support.fake_http import Answer, FakeHttp, Request, stored

SECRET = "hush-secret-access-key"
FACE = object_for(
    FaceEvent(
        "0190-abc", "tx2", "cam0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 7, (640, 480), (1, 2, 3, 4), 0.9
    ).to_message("t", b"\x89PNG\r\n\x1a\n..."),
    received_at=datetime.now(UTC),
)


def store_at(endpoint: str, *, bucket: str = "faces", keys: tuple[str, str] = ("access-key", SECRET)) -> Store:
    return Store(
        SaverSettings(
            mqtt_url="mqtt://unused",
            cos_endpoint=endpoint,
            cos_bucket=bucket,
            cos_hmac_access_key_id=keys[0],
            cos_hmac_secret_access_key=keys[1],
        )
    )


def iam_store(endpoint: str, auth: str) -> Store:
    return Store(
        SaverSettings(
            mqtt_url="mqtt://unused",
            cos_endpoint=endpoint,
            cos_bucket="faces",
            cos_api_key_id="hush-api-key",
            cos_instance_crn="crn:v1:instance",
            cos_auth_endpoint=f"{auth}/identity/token",
        )
    )


def real_store(s3: S3Server, **options: str) -> Store:
    return store_at(s3.endpoint, keys=(s3.access_key_id, s3.secret_access_key), **options)


def refusal(store: Store, stored_object: StoredObject = FACE) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store.put(stored_object)
    assert "hush" not in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """S3 as AWS defines it, with one bucket `faces`; the endpoint."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    store_at(endpoint)._client.create_bucket(Bucket="faces")
    yield endpoint
    server.stop()


def test_an_object_is_stored_byte_for_byte(s3: S3Server) -> None:
    """With its type and metadata; a second time changes nothing."""
    store = real_store(s3)
    store.put(FACE)
    store.put(FACE)
    assert {key: path.read_bytes() for key, path in s3.objects("faces").items()} == {FACE.key: FACE.body}
    head = store._client.head_object(Bucket="faces", Key=FACE.key)
    assert head["ContentType"] == "image/png"
    assert {name.lower(): value for name, value in head["Metadata"].items()} == FACE.metadata


def test_metadata_are_as_s3_returns_them(moto: str) -> None:
    """With names in lower case."""
    store = store_at(moto)
    store.put(FACE)
    assert store._client.head_object(Bucket="faces", Key=FACE.key)["Metadata"] == FACE.metadata


def test_an_empty_object_is_an_object(s3: S3Server) -> None:
    """An empty message has its place like any other."""
    real_store(s3).put(StoredObject("unrecognized/x", b"", "application/octet-stream", {}, None))
    assert s3.objects("faces")["unrecognized/x"].read_bytes() == b""


def test_the_answer_to_an_empty_object_is_not_taken_for_the_next_one_s(
    monkeypatch: pytest.MonkeyPatch, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Over one connection, which is used again."""
    monkeypatch.setattr(store_module, "_READ_SECONDS", 2)
    store = real_store(s3)
    for body in (b"", b"one", b"", b"two", b""):
        store.put(StoredObject(f"unrecognized/{body!r}", body, "application/octet-stream", {}, None))
    assert sorted(p.read_bytes() for p in s3.objects("faces").values()) == [b"", b"one", b"two"]
    assert caplog.records == []


def test_many_threads_share_one_client(s3: S3Server) -> None:
    """As the saver does."""
    store = real_store(s3)
    objects = [StoredObject(f"faces/{i}.png", b"%d" % i, "image/png", {}, None) for i in range(200)]
    store.put(objects[0])  # this server may answer 500 to some of those that make a folder at the same time
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(store.put, objects))
    assert {k: p.read_bytes() for k, p in s3.objects("faces").items()} == {o.key: o.body for o in objects}


HOSTILE = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029"), min_size=1)
NASTY = st.sampled_from(
    ["a  b", " a", "a ", "a\\b", '"', "=?utf-8?q?x?=", "%", "%zz", "+", "a,b;c", "<&>", "~", "x" * 250, "é" * 60]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(event_id=HOSTILE | NASTY, edge=HOSTILE | NASTY, camera=HOSTILE | NASTY)
def test_no_name_of_an_event_makes_an_object_that_a_store_refuses(
    moto_and_rclone: list[Store], event_id: str, edge: str, camera: str
) -> None:
    """Else one message would be tried for ever."""
    event = FaceEvent(event_id, edge, camera, datetime(2026, 1, 2, tzinfo=UTC), 7, (640, 480), (1, 2, 3, 4), 0.9)
    made = object_for(event.to_message("t", b"x"), received_at=datetime.now(UTC))
    for store in moto_and_rclone:
        store.put(made)


@pytest.fixture
def moto_and_rclone(moto: str, s3: S3Server) -> list[Store]:
    return [store_at(moto), real_store(s3)]


def test_a_missing_bucket_is_told(s3: S3Server, moto: str) -> None:
    """And what to do about it; nothing is created."""
    for store in (real_store(s3, bucket="nowhere"), store_at(moto, bucket="nowhere")):
        error = refusal(store)
        assert error.problem is Problem.NO_BUCKET
        assert "COS_BUCKET nowhere does not exist" in str(error)
        assert "create it" in str(error)
    assert not (s3.folder / "nowhere").exists()


def test_wrong_credentials_are_told(s3: S3Server) -> None:
    """A wrong secret, and a key that is unknown."""
    for keys, code in (
        ((s3.access_key_id, SECRET), "SignatureDoesNotMatch"),
        (("unknown", SECRET), "InvalidAccessKeyId"),
    ):
        error = refusal(store_at(s3.endpoint, keys=keys))
        assert error.problem is Problem.DENIED
        assert code in str(error)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(500), Problem.FAILING),
        (Answer(500, b"<html>Internal Server Error</html>"), Problem.FAILING),
        (Answer(503, b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"), Problem.FAILING),
        (Answer(502, b"Bad Gateway"), Problem.FAILING),
        (Answer(429, b"<Error><Code>TooManyRequests</Code></Error>"), Problem.FAILING),
        (Answer(403), Problem.DENIED),
        (Answer(403, b"<Error><Code>AccessDenied</Code></Error>"), Problem.DENIED),
        (Answer(401), Problem.DENIED),
        (Answer(404), Problem.NO_BUCKET),
        (Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), Problem.NO_BUCKET),
        (Answer(400, b"<Error><Code>MetadataTooLarge</Code></Error>"), Problem.REFUSED),
        (Answer(409, b"<Error><Code>OperationAborted</Code></Error>"), Problem.REFUSED),
        (Answer(413), Problem.REFUSED),
        (Answer(301, b"", {"Location": "http://127.0.0.1:1/"}), None),
        (Answer(307, b"", {"Location": "http://127.0.0.1:1/"}), None),
        (Answer(200, b"<html>Welcome to our hotel's network</html>"), None),
        (Answer(204), None),
    ],
    ids=lambda value: None if isinstance(value, Problem) or value is None else f"{value.status} {value.body[:30]!r}",
)
def test_only_a_store_s_own_yes_counts(answer: Answer, problem: Problem | None) -> None:
    """Everything else is an error that says which kind of trouble it is."""
    with FakeHttp(lambda _request: answer) as fake:
        error = refusal(store_at(fake.url))
        assert problem is None or error.problem is problem
        puts = [r for r in fake.requests if r.method == "PUT"]
        assert len(puts) == 1, "retries are made in one place only, which is not here"
        assert puts[0].headers["content-md5"]
        assert "x-amz-trailer" not in puts[0].headers


def test_a_store_that_is_not_there_is_told(s3: S3Server) -> None:
    """Nobody listens."""
    s3.kill()
    error = refusal(real_store(s3))
    assert error.problem is Problem.UNREACHABLE
    assert s3.endpoint in str(error)


def test_a_store_that_hangs_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and does not answer; when it goes on, so do we."""
    monkeypatch.setattr(store_module, "_READ_SECONDS", 0.5)
    store = real_store(s3)
    store.put(FACE)
    s3.pause()
    before = time.monotonic()
    error = refusal(store)
    assert error.problem is Problem.SILENT
    assert time.monotonic() - before < 3
    s3.resume()
    store.put(FACE)


def test_a_store_that_breaks_off_is_told() -> None:
    """In the middle of its answer, or without one."""

    def break_off(_request: Request) -> Answer:
        raise ConnectionAbortedError

    with FakeHttp(break_off) as fake:
        assert refusal(store_at(fake.url)).problem is Problem.UNREACHABLE


def token(_request: Request) -> Answer:
    answer = {
        "access_token": "the-token",
        "refresh_token": "not-supported",
        "token_type": "Bearer",
        "expires_in": 3600,
        "expiration": int(time.time()) + 3600,
    }
    return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def test_iam_exchanges_the_api_key_for_a_token() -> None:
    """Once, and each PUT carries it."""
    with FakeHttp(token) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        store.put(FACE)
        (asked,) = auth.requests
        assert asked.path == "/identity/token"
        assert b"apikey=hush-api-key" in asked.body
        assert [r.headers["authorization"] for r in cos.requests] == ["Bearer the-token"] * 2
        assert [hashlib.sha256(r.body).digest() for r in cos.requests] == [hashlib.sha256(FACE.body).digest()] * 2
        assert cos.requests[0].path == f"/faces/{FACE.key}"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"errorCode":"BXNIM0415E","errorMessage":"Provided API key could not be found."}'),
        Answer(401, b"no"),
    ],
    ids=["unknown key", "refused"],
)
def test_a_token_that_is_refused_is_told(answer: Answer) -> None:
    """With the variables to check; nothing is sent to the store."""
    with FakeHttp(lambda _request: answer) as auth, FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, auth.url))
        assert error.problem is Problem.DENIED
        assert "COS_API_KEY_ID" in str(error)
        assert "COS_AUTH_ENDPOINT" in str(error)
        assert cos.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>Welcome to our hotel's network</html>"),
        Answer(200, b"{}"),
        Answer(200, b"[]"),
        Answer(200, b"\xff\xfe"),
        Answer(200, b'{"access_token": null, "expires_in": 3600}'),
    ],
    ids=["html", "empty", "list", "no text", "null"],
)
def test_an_answer_that_is_no_token_is_told(answer: Answer) -> None:
    """It must not end a worker."""
    with FakeHttp(lambda _request: answer) as auth, FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, auth.url))
        assert "COS_AUTH_ENDPOINT" in str(error)
        assert cos.requests == []


def test_a_token_server_that_is_not_there_is_told() -> None:
    """And not taken for the store."""
    with FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, "http://127.0.0.1:9"))
        assert error.problem is Problem.UNREACHABLE
        assert "COS_AUTH_ENDPOINT" in str(error)


def test_threads_that_ask_for_the_first_token_together_all_get_it() -> None:
    """Or an error, and never a PUT without one."""
    with FakeHttp(token) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: store.put(FACE), range(64)))
        assert {r.headers["authorization"] for r in cos.requests} == {"Bearer the-token"}
