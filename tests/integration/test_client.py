"""The SDK's client goes by our rules: our connections and errors, one try, and no settings of other programs."""

from __future__ import annotations

import logging
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cloud_saver.retention import set_retention
from object_store import bucket as bucket_module
from object_store.errors import Problem, StoreError
from object_store.readable import ReadableBucket
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.raw_http import Client, RawHttp, answering
from tests.support.stores import FACE, SECRET, iam_store, refusal, running_moto, sdk, store_at, wait_for_the_end

EMPTY = b"<ListBucketResult/>"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(EMPTY), EMPTY)


def listed(store: ReadableBucket) -> dict[str, Any]:
    return store.ask("list_objects_v2", Prefix="faces/")


def error_of(store: ReadableBucket) -> StoreError:
    with pytest.raises(StoreError) as caught:
        listed(store)
    assert "hush" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "problem", "said"),
    [
        (Answer(500), Problem.FAILING, "HTTP 500"),
        (Answer(503, b"<Error><Code>SlowDown</Code></Error>"), Problem.FAILING, "SlowDown"),
        (Answer(429), Problem.FAILING, "HTTP 429"),
        (Answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"), Problem.DENIED, "credentials"),
        (Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), Problem.NO_BUCKET, "does not exist"),
        (Answer(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"), Problem.CLOCK, "this machine's clock"),
        (
            Answer(301, b"", {"Location": "http://127.0.0.1:9/", "x-amz-bucket-region": "eu-west-3<script>"}),
            Problem.ELSEWHERE,
            "which is eu-west-3script",
        ),
        (Answer(301, b"<Error><Code>PermanentRedirect</Code></Error>"), Problem.ELSEWHERE, "the bucket's own region"),
        (Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), Problem.UNREACHABLE, "not as an object store does"),
        (Answer(400), Problem.REFUSED, "HTTP 400"),
    ],
    ids=lambda value: f"{value.status} {value.body[13:40]!r}" if isinstance(value, Answer) else "",
)
def test_an_error_is_told_as_for_a_put(answer: Answer, problem: Problem, said: str) -> None:
    """After one try: retries are made in one place only, and no redirect is followed."""
    with FakeHttp(lambda _request: answer) as fake:
        store = store_at(fake.url)
        error = error_of(store)
        assert (error.problem, len(fake.requests)) == (problem, 1)
        assert said in str(error)
        assert refusal(store).problem is problem
        assert len(fake.requests) == 2


@pytest.mark.parametrize("arrives", [False, True])
def test_a_connection_that_the_server_closes_meanwhile_is_made_anew(arrives: bool) -> None:
    """Before the question arrives, or after."""

    def serve(client: Client) -> None:
        client.request()
        client.send(OK)
        if arrives:
            client.request()

    with RawHttp(serve) as server:
        store = store_at(server.url)
        listed(store)
        if not arrives:
            wait_for_the_end(store)
        assert listed(store)["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert server.connections == 2


def test_a_list_that_drips_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 0.5)

    def drip(client: Client) -> None:
        client.request()
        client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            client.send(b" ")
            time.sleep(0.02)

    with RawHttp(drip) as server:
        before = time.monotonic()
        assert error_of(store_at(server.url)).problem is Problem.SILENT
        assert time.monotonic() - before < 5


def test_a_list_that_is_cut_off_is_no_list() -> None:
    with RawHttp(answering(OK[:-5])) as server:
        assert error_of(store_at(server.url)).problem is Problem.UNREACHABLE


def test_it_goes_through_the_proxy_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHttp(lambda _request: Answer(200, EMPTY)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:hush-word@"))
        listed(store_at("http://store.example:9000"))
        (request,) = proxy.requests
        assert request.path.startswith("http://store.example:9000/faces?list-type=2&")
        assert request.headers["host"] == "store.example:9000"
        assert request.headers["proxy-authorization"] == "Basic bWU6aHVzaC13b3Jk"


def test_with_iam_s_credentials_it_brings_the_same_token() -> None:
    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, b'{"access_token": "the-token", "expires_in": 3600}')
        return Answer(200, EMPTY, {"ETag": "1"})

    with FakeHttp(answer) as fake:
        store = iam_store(fake.url, fake.url)
        store.put(FACE)
        listed(store)
        _, *others = fake.requests
        assert [request.headers["authorization"] for request in others] == ["Bearer the-token"] * 2


def test_nothing_of_other_programs_settings_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint, credentials, a profile: those who have the AWS CLI on their machine have them."""
    (tmp_path / "config").write_text("no config")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    with FakeHttp(lambda _request: Answer(500)) as fake:
        assert error_of(store_at(fake.url)).problem is Problem.FAILING
        (request,) = fake.requests
        assert "Credential=access-key/" in request.headers["authorization"]
        assert "/us-east-1/s3/" in request.headers["authorization"]


def test_the_address_may_be_one_of_ipv6() -> None:
    """Its brackets are part of what is signed."""
    store = store_at("http://[::1]:9000")
    assert store._server.host == "[::1]:9000"
    link = store.link("a b/é", seconds=60)
    assert link is not None
    assert link.startswith("http://[::1]:9000/faces/a%20b/%C3%A9?")
    assert "X-Amz-SignedHeaders=host" in link


def test_a_link_is_for_one_object_and_for_anybody() -> None:
    with running_moto() as moto:
        store = store_at(moto)
        store.put(FACE)
        link = store.link(FACE.key, seconds=60)
        assert link is not None
        assert "X-Amz-Expires=60" in link
        assert SECRET not in link
        with urllib.request.urlopen(link) as answer:
            assert answer.read() == FACE.body


def test_what_the_sdk_says_of_requests_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), FakeHttp(lambda _request: Answer(200, EMPTY, {"ETag": "1"})) as fake:
        store = store_at(fake.url)
        store.put(FACE)
        listed(store)
        store.link(FACE.key, seconds=60)
    assert [record for record in caplog.records if re.match("ibm_|urllib3|requests", record.name)] == []


def test_rules_that_the_sdk_would_lose_are_left_alone() -> None:
    """It knows IBM's kinds alone; what it does not read, it would not write back."""
    rule = (
        b"<Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix>backup/</Prefix></Filter>"
        b"<NoncurrentVersionTransition><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionTransition></Rule>"
    )
    lifecycle = b"<LifecycleConfiguration xmlns='http://s3'>%s</LifecycleConfiguration>" % rule
    with FakeHttp(lambda _request: Answer(200, lifecycle)) as fake:
        with pytest.raises(StoreError, match=r"NoncurrentVersionTransition.*change it by hand"):
            set_retention(store_at(fake.url), 30)
        assert {request.method for request in fake.requests} == {"GET"}


def test_requests_are_as_the_sdk_makes_them() -> None:
    """With the checksum that IBM Cloud asks for."""
    with FakeHttp(lambda _request: Answer(200, b"<DeleteResult><Deleted/></DeleteResult>")) as fake:
        what = {"Delete": {"Objects": [{"Key": "a&b"}]}}
        store_at(fake.url).ask("delete_objects", **what)
        sdk(fake.url).delete_objects(Bucket="faces", **what)
        ours, theirs = fake.requests
        assert (ours.method, ours.path, ours.body) == (theirs.method, theirs.path, theirs.body)
        assert ours.headers["content-md5"]
        assert "expect" not in ours.headers
