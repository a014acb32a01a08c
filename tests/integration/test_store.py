"""The bucket: real S3 servers, and servers that answer everything else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.stack.s3 import S3Server
from face_messages import FaceEvent
from object_store import bucket as bucket_module
from object_store.errors import Problem
from object_store.keys import StoredObject, object_for
from object_store.readable import ReadableBucket
from object_store.settings import StoreSettings
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.stores import FACE, SECRET, real_store, refusal, running_moto, sdk, store_at


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with running_moto() as endpoint:
        yield endpoint


def test_an_object_is_stored_byte_for_byte(s3: S3Server) -> None:
    """With its type and metadata; a second time changes nothing."""
    store = real_store(s3)
    store.put(FACE)
    store.put(FACE)
    assert {key: path.read_bytes() for key, path in s3.objects("faces").items()} == {FACE.key: FACE.body}
    head = sdk(s3.endpoint, s3.access_key_id, s3.secret_access_key).head_object(Bucket="faces", Key=FACE.key)
    assert head["ContentType"] == "image/png"
    assert {name.lower(): value for name, value in head["Metadata"].items()} == FACE.metadata


def test_metadata_are_as_s3_returns_them(moto: str) -> None:
    """With names in lower case."""
    store = store_at(moto)
    store.put(FACE)
    assert sdk(moto).head_object(Bucket="faces", Key=FACE.key)["Metadata"] == FACE.metadata


def test_an_empty_object_is_an_object(s3: S3Server) -> None:
    """An empty message has its place like any other."""
    real_store(s3).put(StoredObject("unrecognized/x", b"", "application/octet-stream", {}, None))
    assert s3.objects("faces")["unrecognized/x"].read_bytes() == b""


def test_the_answer_to_an_empty_object_is_not_taken_for_the_next_one_s(
    monkeypatch: pytest.MonkeyPatch, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Over one connection, which is used again."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 2)
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
    moto_and_rclone: list[ReadableBucket], event_id: str, edge: str, camera: str
) -> None:
    """Else one message would be tried for ever."""
    event = FaceEvent(event_id, edge, camera, datetime(2026, 1, 2, tzinfo=UTC), 7, (640, 480), (1, 2, 3, 4), 0.9)
    made = object_for(event.to_message("t", b"x"), received_at=datetime.now(UTC))
    for store in moto_and_rclone:
        store.put(made)


KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map("unrecognized/{}".format)
NASTY_KEYS = ["a b", "a+b", "a%2Fb", "%", "~", "a~é日本😀", "!$&'()*,;=:@", "?x=y#z", "a\\b", '[a]{b}^`|<>"']


@given(key=KEYS | st.sampled_from(NASTY_KEYS))
@settings(max_examples=50, deadline=None)
def test_a_request_is_as_the_sdk_makes_it(sdk_and_fake: tuple[Any, FakeHttp], key: str) -> None:
    """In its path and in all headers that matter."""
    client, fake = sdk_and_fake
    made = StoredObject(key, b"x", "image/png", FACE.metadata | {"spaced": "a  b"}, None)
    fake.requests.clear()
    store_at(fake.url).put(made)
    client.put_object(
        Bucket="faces",
        Key=key,
        Body=made.body,
        ContentType=made.content_type,
        ContentMD5=hashlib.md5(made.body).hexdigest(),
        Metadata=made.metadata,
    )
    ours, theirs = fake.requests
    assert ours.path == theirs.path
    names = {name for name in theirs.headers if name.startswith("x-amz-meta-")}
    assert len(names) == len(made.metadata)
    for name in {"host", "content-type", "content-length", "x-amz-content-sha256", *names}:
        assert ours.headers[name] == theirs.headers[name]


@pytest.fixture(scope="module")
def sdk_and_fake() -> Iterator[tuple[Any, FakeHttp]]:
    with FakeHttp(stored) as fake:
        yield sdk(fake.url), fake


@pytest.mark.parametrize("name", NASTY_KEYS)
def test_an_object_is_found_under_its_key(name: str, moto: str, s3: S3Server) -> None:
    """Stores take the signature for any key, and mean the same by it as the SDK."""
    key = f"unrecognized/{name}"
    for store, client in (
        (store_at(moto), sdk(moto)),
        (real_store(s3), sdk(s3.endpoint, s3.access_key_id, s3.secret_access_key)),
    ):
        made = StoredObject(key, name.encode(), "image/png", {}, None)
        assert not store.has(made)
        store.put(made)
        assert store.has(made)
        assert client.get_object(Bucket="faces", Key=key)["Body"].read() == made.body
        assert client.list_objects_v2(Bucket="faces", Prefix=key)["Contents"][0]["Key"] == key


def test_an_endpoint_may_have_a_path_and_its_scheme_s_own_port() -> None:
    """As some stores have; the port is not part of what is signed then."""
    with FakeHttp(stored) as fake:
        store_at(f"{fake.url}/s3/").put(FACE)
        assert fake.requests[0].path == f"/s3/faces/{FACE.key}"
    assert store_at("http://store.example:80")._server.host == "store.example"
    assert store_at("https://store.example:443")._server.host == "store.example"
    assert store_at("https://store.example:80")._server.host == "store.example:80"


@pytest.fixture
def moto_and_rclone(moto: str, s3: S3Server) -> list[ReadableBucket]:
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


def encrypting(endpoint: str, **settings: str) -> ReadableBucket:
    keys = {"cos_hmac_access_key_id": "access-key", "cos_hmac_secret_access_key": SECRET}
    asked = {"cos_endpoint": endpoint, "cos_bucket": "faces", **keys, **settings}
    return ReadableBucket(StoreSettings.model_validate(asked))


@pytest.mark.parametrize("key", ["", "arn:aws:kms:us-east-1:1:key/k"])
def test_encryption_is_asked_for_with_each_object(key: str, moto: str) -> None:
    """Of the kind, and with the key, that the settings name."""
    kind = "aws:kms" if key else "AES256"
    encrypting(moto, cos_sse=kind, cos_sse_kms_key_id=key).put(FACE)
    head = sdk(moto).head_object(Bucket="faces", Key=FACE.key)
    assert head["ServerSideEncryption"] == kind
    assert head.get("SSEKMSKeyId", "") == key


def test_a_store_that_does_not_encrypt_though_asked_to_is_told(s3: S3Server) -> None:
    """What it has stored in clear is not taken for stored when it is looked for, either."""
    store = encrypting(s3.endpoint, cos_sse="AES256")
    store._credentials = real_store(s3)._credentials
    for _ in range(2):
        assert "stores without the encryption that COS_SSE asks for" in str(refusal(store))
        assert not store.has(FACE)


def test_a_store_that_is_not_there_is_told(s3: S3Server) -> None:
    """Nobody listens."""
    s3.kill()
    error = refusal(real_store(s3))
    assert error.problem is Problem.UNREACHABLE
    assert s3.endpoint in str(error)


def test_a_store_that_hangs_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and does not answer; when it goes on, so do we."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 0.5)
    store = real_store(s3)
    store.put(FACE)
    s3.pause()
    before = time.monotonic()
    error = refusal(store)
    assert error.problem is Problem.SILENT
    assert time.monotonic() - before < 20
    s3.resume()
    store.put(FACE)


def test_a_store_that_breaks_off_is_told() -> None:
    """In the middle of its answer, or without one."""

    def break_off(_request: Request) -> Answer:
        raise ConnectionAbortedError

    with FakeHttp(break_off) as fake:
        assert refusal(store_at(fake.url)).problem is Problem.UNREACHABLE


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\rb", "\0", "é"])
def test_metadata_that_would_be_another_header_are_not_sent(value: str) -> None:
    """Names and values are encoded where objects are made; should that fail, nothing goes out."""
    with FakeHttp(stored) as fake:
        refusal(store_at(fake.url), replace(FACE, metadata={"name": value}))
        assert fake.requests == []


def test_of_the_sdk_a_saver_loads_what_it_uses() -> None:
    """To store an object it needs no client, which would cost it time and memory."""
    check = (
        "import sys, cloud_saver.program;"
        "assert 'ibm_botocore.auth' in sys.modules;"
        "sys.exit(any(f'ibm_botocore.{name}' in sys.modules for name in ('session', 'client', 'handlers')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
