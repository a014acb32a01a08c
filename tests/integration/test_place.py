"""Where the bucket is: its region, its address, and the name that browsers know it by."""

from __future__ import annotations

import logging
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cloud_saver.retention import set_retention
from cloud_saver.settings import SaverSettings
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from face_messages.service.settings import SettingsError
from object_store import bucket as bucket_module
from object_store.errors import Problem, StoreError
from object_store.keys import StoredObject
from object_store.listing import objects
from object_store.readable import ReadableBucket
from object_store.settings import StoreSettings
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import saver
from tests.support.stores import (
    FACE,
    SECRET,
    environment,
    here,
    iam_store,
    real_store,
    refusal,
    running_moto,
    sdk,
    store_at,
)
from tests.support.waiting import eventually

HERE = "garage"


def bucket_at(endpoint: str, **more: str) -> ReadableBucket:
    keys = {"cos_hmac_access_key_id": "access-key", "cos_hmac_secret_access_key": SECRET}
    return ReadableBucket(StoreSettings.model_validate({"cos_endpoint": endpoint, "cos_bucket": "faces"} | keys | more))


# Region


def scope(request: Request) -> str:
    """The region that a request is signed for."""
    found = re.search(r"Credential=[^/]+/\d{8}/([^/]+)/s3/aws4_request", request.headers["authorization"])
    assert found is not None
    return found[1]


def named(code: str = "AuthorizationHeaderMalformed", *, status: int = 400, region: str = HERE) -> Answer:
    """By which a store refuses another region than its own, and names that one."""
    body = f"<Error><Code>{code}</Code><Message>no</Message><Region>{region}</Region></Error>"
    return Answer(status, body.encode())


def checking(wrong: Answer, *, region: str = HERE) -> Callable[[Request], Answer]:
    """A store that takes signatures for its own region alone."""

    def answer(request: Request) -> Answer:
        if scope(request) != region:
            return wrong
        if "list-type" in request.path:
            return Answer(200, b"<ListBucketResult><Name>faces</Name></ListBucketResult>")
        if "lifecycle" in request.path and request.method == "GET":
            rules = b"".join(
                b"<Rule><ID>facedetection-%s</ID><Status>Enabled</Status><Filter><Prefix>%s/</Prefix></Filter>"
                b"<Expiration><Days>9</Days></Expiration></Rule>" % (name, name)
                for name in (b"faces", b"unrecognized")
            )
            return Answer(200, b"<LifecycleConfiguration>%s</LifecycleConfiguration>" % rules)
        if "versioning" in request.path:
            return Answer(200, b"<VersioningConfiguration/>")
        return Answer(headers={"ETag": '"0"'})

    return answer


NAMED = {
    "element": named(),
    "element in another error": named("SignatureDoesNotMatch", status=403),
    "message": Answer(
        400, b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong; expecting 'garage'</Message></Error>"
    ),
    "header of 400": Answer(400, b"", {"x-amz-bucket-region": HERE}),
    "header of 403": Answer(403, b"", {"x-amz-bucket-region": HERE}),
    "header of 301": Answer(301, b"", {"x-amz-bucket-region": HERE}),
    "307": Answer(307, b"<Error><Code>TemporaryRedirect</Code></Error>", {"x-amz-bucket-region": HERE}),
}


@pytest.mark.parametrize("wrong", NAMED.values(), ids=NAMED)
def test_the_region_that_the_store_names_is_adopted(wrong: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """For objects and links; one request is made twice for it, and it is said once."""
    with caplog.at_level(logging.INFO), FakeHttp(checking(wrong)) as fake:
        store = store_at(fake.url)
        for _ in range(3):
            store.put(FACE)
        assert [scope(request) for request in fake.requests] == ["us-east-1", HERE, HERE, HERE]
        link = store.link(FACE.key, seconds=60)
    assert f"%2F{HERE}%2F" in str(link)
    assert [record.getMessage() for record in caplog.records] == [
        f"the store is in region {HERE}: requests are signed for it from now on"
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: list(objects(store, "faces/")),
        lambda store: store.read(FACE.key),
        lambda store: store.read(FACE.key, only_head=True),
        lambda store: set_retention(store, 9),
        lambda store: store.link(FACE.key, seconds=60),
    ],
    ids=["list", "read", "head", "lifecycle", "link"],
)
def test_whatever_is_asked_first_learns_the_region(ask: Callable[[ReadableBucket], object]) -> None:
    """The gallery never writes, and `retention` may be the first command of all."""
    with FakeHttp(checking(named())) as fake:
        store = store_at(fake.url)
        ask(store)
        assert {scope(request) for request in fake.requests[2:]} <= {HERE}
        assert f"%2F{HERE}%2F" in str(store.link(FACE.key, seconds=60))


def test_a_head_is_told_no_region_and_learns_it_all_the_same() -> None:
    """The answer to a HEAD has no body."""

    def answer(request: Request) -> Answer:
        wrong = Answer(400) if request.method == "HEAD" else named()
        return checking(wrong)(request)

    with FakeHttp(answer) as fake:
        store = store_at(fake.url)
        assert not store.has(FACE)
        assert store.read(FACE.key, only_head=True) is not None
        store.put(FACE)


def test_threads_that_meet_it_together_all_get_through(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once."""
    with caplog.at_level(logging.INFO), FakeHttp(checking(named())) as fake, ThreadPoolExecutor(16) as pool:
        list(pool.map(store_at(fake.url).put, [FACE] * 64))
    assert len(caplog.records) == 1


def test_a_store_that_moves_is_followed() -> None:
    with FakeHttp(checking(named())) as fake:
        store = store_at(fake.url)
        for region in (HERE, "fr-par", HERE):
            fake.answer = checking(named(region=region), region=region)
            store.put(FACE)
            assert scope(fake.requests[-1]) == region


def test_a_region_that_is_set_is_taken_from_the_start() -> None:
    """And no other."""
    with FakeHttp(checking(named())) as fake:
        bucket_at(fake.url, cos_region=HERE).put(FACE)
        assert [scope(request) for request in fake.requests] == [HERE]
        error = refusal(bucket_at(fake.url, cos_region="eu-west-3"))
        assert error.problem is Problem.ELSEWHERE
        assert f"which is {HERE}: COS_REGION must be that or empty" in str(error)
        assert len(fake.requests) == 2


def test_a_bucket_behind_another_endpoint_is_told() -> None:
    """As at AWS, where each endpoint wants its own region and sends all others away."""

    def answer(request: Request) -> Answer:
        if scope(request) == "eu-central-1":
            return named("PermanentRedirect", status=301, region="eu-west-3")
        return named(region="eu-central-1")

    with FakeHttp(answer) as fake:
        store = store_at(fake.url)
        for _ in range(3):
            error = refusal(store)
            assert error.problem is Problem.ELSEWHERE
            assert "COS_ENDPOINT must be that of the bucket's own region, which is eu-west-3" in str(error)
        assert len(fake.requests) == 6


# Address


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The port of a store that is `s3.test`, and `faces.s3.test` for its bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, running_moto() as endpoint:
        patch.setattr("socket.getaddrinfo", here(".s3.test", "s3.test"))
        yield endpoint


def keys_in(endpoint: str) -> list[str]:
    return [each["Key"] for each in sdk(endpoint).list_objects_v2(Bucket="faces").get("Contents", [])]


def test_a_bucket_may_stand_in_the_host(moto: str) -> None:
    """For all requests, and for links."""
    store = bucket_at(f"http://s3.test:{urlsplit(moto).port}", cos_addressing="virtual")
    store.put(FACE)
    store.check_place(FACE.key)
    assert store.has(FACE)
    assert [each.key for each in objects(store, "faces/")] == keys_in(moto) == [FACE.key]
    found = store.read(FACE.key)
    assert found is not None
    assert found.body == FACE.body
    link = store.link(FACE.key, seconds=60)
    assert link is not None
    assert link.startswith(f"http://faces.s3.test:{urlsplit(moto).port}/faces/tx2/")
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == FACE.body
    store.ask("delete_objects", Delete={"Objects": [{"Key": FACE.key}]})
    assert keys_in(moto) == []


def test_paths_of_virtual_hosts() -> None:
    """The header `host` names the bucket, and the endpoint's own path stays before the key."""
    with FakeHttp(stored) as fake, pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.getaddrinfo", here(".test"))
        url = fake.url.replace("127.0.0.1", "s3.test")
        for path in ("", "/", "/a/"):
            store = bucket_at(url + path, cos_addressing="virtual")
            store.put(FACE)
            with pytest.raises(StoreError):
                store.ask("list_objects_v2", Prefix="x")
            put, listed = fake.requests[-2:]
            assert put.headers["host"] == f"faces.{urlsplit(url).netloc}"
            assert put.path == f"{path.rstrip('/')}/{FACE.key}"
            assert listed.path.startswith(f"{path.rstrip('/')}/?list-type=2")


@pytest.mark.parametrize("code", ["SecondLevelDomainForbidden", "PathStyleDomainForbidden"])
def test_a_store_that_wants_the_bucket_in_its_host_is_told(code: str) -> None:
    with FakeHttp(lambda _request: Answer(403, f"<Error><Code>{code}</Code></Error>".encode())) as fake:
        assert "set COS_ADDRESSING=virtual" in str(refusal(store_at(fake.url)))


WRONG = [
    ("https://faces.s3.example", "write https://s3.example and COS_ADDRESSING=virtual"),
    ("https://FACES.s3.example:9000", "write https://s3.example:9000 and COS_ADDRESSING=virtual"),
    ("https://s3.example/faces", "write https://s3.example. "),
    ("https://s3.example/faces/", "write https://s3.example. "),
    ("https://s3.example/f%61ces", "write https://s3.example. "),
    ("https://s3.example/a/faces/", "write https://s3.example/a. "),
    ("https://s3.example?x=y", "without a user, a query and a fragment"),
    ("https://s3.example/?faces", "without a user, a query and a fragment"),
    ("https://s3.example/#faces", "without a user, a query and a fragment"),
    ("https://me@s3.example/", "without a user, a query and a fragment"),
    ("https://me:hush@s3.example/", "without a user, a query and a fragment"),
    ("s3.example", "must be a URL"),
]


@pytest.mark.parametrize("name", ["COS_ENDPOINT", "COS_PUBLIC_ENDPOINT"])
@pytest.mark.parametrize(("url", "said"), WRONG)
def test_an_endpoint_that_holds_more_than_the_store_is_refused(
    name: str, url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to write instead."""
    for variable, value in ({"MQTT_URL": "mqtt://b", **environment("https://s3.example")} | {name: url}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        SaverSettings.load()
    (line,) = caught.value.lines
    assert line.startswith(f"{name}: ")
    assert said in line
    assert "hush" not in line


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"COS_ENDPOINT": "http://10.0.0.1:9000"}, "COS_ENDPOINT: has an IP address"),
        ({"COS_ENDPOINT": "http://[::1]"}, "COS_ENDPOINT: has an IP address"),
        ({"COS_BUCKET": "our.faces"}, "COS_ADDRESSING: a certificate does not cover"),
        ({"COS_ENDPOINT": "https://faces.s3.example"}, "write https://s3.example. "),
        ({"COS_ADDRESSING": "host"}, "COS_ADDRESSING: "),
        ({"COS_REGION": "eu west"}, "COS_REGION: "),
    ],
)
def test_addresses_that_cannot_be_are_refused(
    settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"MQTT_URL": "mqtt://b", "COS_ADDRESSING": "virtual", **environment("https://s3.example")}
    for variable, value in (base | settings).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        SaverSettings.load()
    assert said in str(caught.value)


def test_a_host_may_be_called_like_the_bucket_where_that_is_meant() -> None:
    """A store of one's own may be at https://faces.example.org: `path` says that the bucket comes behind it."""
    assert bucket_at("https://faces.example.org", cos_addressing="path")._server.host == "faces.example.org"
    assert bucket_at("https://faces-store.example.org/facesx")._server.host == "faces-store.example.org"


def test_objects_that_would_lie_elsewhere_are_noticed(moto: str) -> None:
    """Nothing in this URL shows that the store takes its host for the bucket."""
    store = bucket_at(f"http://faces.s3.test:{urlsplit(moto).port}", cos_addressing="path")
    store.put(FACE)
    with pytest.raises(StoreError, match=r"seems to hold COS_BUCKET faces already .*leave the bucket out") as caught:
        store.check_place(FACE.key)
    assert caught.value.problem is Problem.UNREACHABLE
    with pytest.raises(StoreError, match="seems to hold COS_BUCKET faces already"):
        list(objects(store, "faces/"))
    sdk(moto).delete_object(Bucket="faces", Key=f"faces/{FACE.key}")


def test_an_object_that_is_not_listed_is_said(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a store that checks signatures; what is there is listed."""
    monkeypatch.setattr(bucket_module, "_BETWEEN_LOOKS", 0.01)
    store = real_store(s3)
    names = StoredObject("unrecognized/a b~(é)", b"x", "image/png", {}, None), FACE
    for stored_object in names:
        store.put(stored_object)
        store.check_place(stored_object.key)
    assert caplog.records == []
    store.check_place(f"{FACE.key}x")
    assert "is stored, but the store does not list it" in caplog.text


def test_a_saver_that_would_store_elsewhere_confirms_nothing_and_says_why(
    moto: str, broker: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\nresolve = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda h, *a, **k: resolve('127.0.0.1' if str(h).endswith('.test') else h, *a, **k)\n"
    )
    program = saver(tmp_path, broker.url, f"http://faces.s3.test:{urlsplit(moto).port}", COS_ADDRESSING="path")
    assert program._env is not None
    program._env["PYTHONPATH"] += f":{tmp_path}"
    with (
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        program,
        plain_client(broker.port) as client,
    ):
        program.expect("cloud_broker_up", 1)
        publish(client, TOPIC, b"x", ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=b"one")
        program.expect_line("seems to hold COS_BUCKET faces already")
        eventually(lambda: program.figure("store_failures_total") >= 2)
        assert "seems to hold" in program.ask("/healthz")[1]
        assert receipts.messages == []


def test_the_saver_looks_once(broker: Mosquitto, tmp_path: Path) -> None:
    """A list for each object would be dear."""
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        if request.method == "GET":
            asked.append(request.path)
            key = re.search(r"prefix=([^&]+)", request.path)
            assert key is not None
            name = key[1].replace("%2F", "/")
            item = f"<Contents><Key>{name}</Key><Size>1</Size></Contents>"
            return Answer(200, f"<ListBucketResult><Name>faces</Name>{item}</ListBucketResult>".encode())
        return stored(request)

    with FakeHttp(answer) as fake, saver(tmp_path, broker.url, fake.url) as program, plain_client(broker.port) as c:
        program.expect("cloud_broker_up", 1)
        for i in range(20):
            publish(c, TOPIC, b"%d" % i)
        program.expect("objects_stored_total", 20)
        assert len(asked) == 1
        assert "WARNING" not in program.log_text()


# Links


@pytest.mark.parametrize(
    ("endpoint", "settings", "begins"),
    [
        ("http://demo-s3:9000", {"cos_public_endpoint": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/faces/faces/"),
        (
            "https://s3.private.eu-de.example",
            {"cos_public_endpoint": "https://s3.eu-de.example/", "cos_addressing": "virtual"},
            "https://faces.s3.eu-de.example/faces/",
        ),
        ("https://s3.eu-de.example", {}, "https://s3.eu-de.example/faces/faces/"),
        ("http://127.0.0.1:9000", {}, "http://127.0.0.1:9000/faces/faces/"),
        ("http://localhost:9000", {}, "http://localhost:9000/faces/faces/"),
        ("http://demo-s3:9000", {}, None),
        ("https://s3.private.eu-de.cloud-object-storage.appdomain.cloud", {}, None),
        ("https://s3.direct.eu-de.cloud-object-storage.appdomain.cloud", {}, None),
        ("https://minio.storage.svc:9000", {}, None),
        ("https://minio.internal", {}, None),
    ],
)
def test_links_are_for_names_that_browsers_know(endpoint: str, settings: dict[str, str], begins: str | None) -> None:
    """Where there is no such name, there is no link of the store's."""
    store = bucket_at(endpoint, cos_region="eu-de", **settings)
    link = store.link(FACE.key, seconds=60)
    if begins is None:
        assert link is None
    else:
        assert str(link).startswith(begins)
        assert "X-Amz-SignedHeaders=host" in str(link)


def test_a_link_for_another_name_is_good_there(moto: str) -> None:
    """The signature is for the name that browsers use."""
    port = urlsplit(moto).port
    store = bucket_at(moto, cos_public_endpoint=f"http://localhost:{port}")
    store.put(FACE)
    link = store.link(FACE.key, seconds=60)
    assert str(link).startswith(f"http://localhost:{port}/faces/")
    with urllib.request.urlopen(str(link)) as answer:
        assert answer.read() == FACE.body


def test_iam_signs_no_links() -> None:
    assert iam_store("https://s3.example", "https://iam.example").link(FACE.key, seconds=60) is None


def test_times_are_told_that_differ() -> None:
    """By how much, and which way."""
    answers = {
        "Sun, 06 Nov 1994 08:49:37 GMT": "ahead",
        "Sun, 06 Nov 2094 08:49:37 GMT": "behind",
    }
    for date, way in answers.items():
        refused = Answer(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")
        with FakeHttp(lambda _request: refused) as fake, pytest.MonkeyPatch.context() as patch:  # noqa: B023
            patch.setattr("http.server.BaseHTTPRequestHandler.date_time_string", lambda *_: date)  # noqa: B023
            error = refusal(store_at(fake.url))
        days = abs((datetime.now(UTC) - datetime.strptime(date[5:16], "%d %b %Y").replace(tzinfo=UTC)).days)
        assert error.problem is Problem.CLOCK
        assert re.search(rf"this machine is {days // 100}\d\d days, [\d:]+ {way}\)", str(error)), str(error)
