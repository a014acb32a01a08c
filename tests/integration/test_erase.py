"""`python -m cloud_saver erase`: exactly what was asked for goes, and whatever happens is told."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud_saver import cli as commands
from cloud_saver.erase import Erasure, seen
from dev.stack.proxy import Proxy
from dev.stack.s3 import S3Server
from face_messages import FaceEvent
from object_store import listing
from object_store.keys import camera_folder, face_key
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.stores import environment, running_moto, sdk, store_at
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
EIGHT = datetime(2026, 5, 1, 8, tzinfo=UTC)
HOUR = ("--from", "2026-05-01T08:00Z", "--to", "2026-05-01T09:00Z")
DOOR = ("erase", "--edge", "tx2-01", "--camera", "front-door")
Erase = Callable[..., int]


def key(time: datetime, *, edge: str = "tx2-01", camera: str = "front-door", name: str = "a") -> str:
    return face_key(FaceEvent(name, edge, camera, time, 1, (640, 480), (1, 2, 3, 4), 0.9))


@pytest.fixture
def moto() -> Iterator[str]:
    with running_moto() as endpoint:
        yield endpoint


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK's client for an empty bucket, which the settings name."""
    if request.param == "moto":
        keys: tuple[str, ...] = (request.getfixturevalue("moto"),)
    else:
        s3: S3Server = request.getfixturevalue("s3")
        keys = (s3.endpoint, s3.access_key_id, s3.secret_access_key)
    use(monkeypatch, environment(*keys))
    return sdk(*keys)


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def keys_in(client: Any) -> set[str]:
    return {each["Key"] for each in client.list_objects_v2(Bucket="faces").get("Contents", [])}


def fill(client: Any, *keys: str) -> None:
    for each in keys:
        client.put_object(Bucket="faces", Key=each, Body=b"face")


def test_what_a_camera_saw_between_two_times_goes_and_nothing_else(
    bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first moment on and before the second; others whose names begin alike keep theirs."""
    moment = timedelta(microseconds=1)
    end = EIGHT + timedelta(hours=1)
    gone = {key(EIGHT), key(EIGHT, name="b"), key(EIGHT + moment), key(end - moment)}
    stay = {
        key(EIGHT - moment),
        key(end),
        key(EIGHT + timedelta(days=1)),
        key(EIGHT, camera="front-door-2"),
        key(EIGHT, camera="front"),
        key(EIGHT, edge="tx2-011"),
        key(EIGHT, edge="tx2"),
        f"unrecognized/2026/05/01/{'0' * 64}",
    }
    fill(bucket, *gone, *stay)
    assert commands.main([*DOOR, *HOUR, "--yes"]) == 0
    assert keys_in(bucket) == stay
    said = capsys.readouterr().out
    assert "4 objects, 0.0 MB, in bucket faces at http://" in said
    assert f"first: {key(EIGHT)}" in said
    assert "4 deleted" in said
    assert "still on their way" in said
    assert commands.main([*DOOR, *HOUR, "--yes"]) == 0
    assert "0 objects" in capsys.readouterr().out


@pytest.mark.parametrize("camera", ["front door", "a&b<c>\"'", "é/..", "%41", "~", "x" * 300])
def test_any_name_of_a_camera_can_be_given_as_it_is(camera: str, bucket: Any) -> None:
    fill(bucket, key(EIGHT, camera=camera), key(EIGHT, camera="other"))
    assert commands.main(["erase", "--edge", "tx2-01", "--camera", camera, *HOUR, "--yes"]) == 0
    assert keys_in(bucket) == {key(EIGHT, camera="other")}


def test_all_cameras_of_an_edge(bucket: Any) -> None:
    stay = {key(EIGHT, edge="tx2-02"), key(EIGHT - timedelta(days=1))}
    fill(bucket, key(EIGHT), key(EIGHT, camera="a b"), key(EIGHT, camera="z"), *stay)
    assert commands.main(["erase", "--edge", "tx2-01", "--all-cameras", *HOUR, "--yes"]) == 0
    assert keys_in(bucket) == stay


def test_what_is_of_nobody_goes_by_whole_days(bucket: Any) -> None:
    """Pictures and the rest; what was refused keeps its note, which is no picture."""
    gone = {f"{folder}/2026/05/0{day}/x" for folder in ("faces/unattributed", "unrecognized") for day in (1, 2)}
    stay = {"faces/unattributed/2026/04/30/x", "unrecognized/2026/05/03/x", "unrecognized/refused/x.json", key(EIGHT)}
    fill(bucket, *gone, *stay)
    days = ("--from", "2026-05-01T00:00Z", "--to", "2026-05-03T02:00+02:00")
    assert commands.main(["erase", "--unattributed", *days, "--yes"]) == 0
    assert keys_in(bucket) == stay


def test_nothing_goes_without_a_yes(bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In a script that has no terminal, and to have a look."""
    fill(bucket, key(EIGHT))
    assert commands.main([*DOOR, *HOUR, "--dry-run"]) == 0
    assert "1 object," in capsys.readouterr().out
    process = start(DOOR, HOUR, stdin=subprocess.DEVNULL)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--yes" in complaint
    assert keys_in(bucket) == {key(EIGHT)}


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1), ("yesterday", 1)])
def test_it_asks_on_a_terminal(answer: str, status: int, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes nothing but a yes for one."""
    use(monkeypatch, environment(s3.endpoint, s3.access_key_id, s3.secret_access_key))
    path = put_file(s3, key(EIGHT))
    ours, theirs = pty.openpty()
    try:
        process = start(DOOR, HOUR, stdin=theirs)
        os.write(ours, f"{answer}\n".encode())
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Delete 1 object, for good? [y/N]" in out
    assert process.returncode == status
    assert path.exists() == (status == 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*DOOR, "--from", "2026-05-01T08:00", "--to", "2026-05-01T09:00Z"], "no time zone: add Z for UTC"),
        ([*DOOR, "--from", "yesterday", "--to", "2026-05-01T09:00Z"], "no time such as"),
        ([*DOOR, "--from", "2026-05-01T09:00Z", "--to", "2026-05-01T10:00+01:00"], "--from must be before --to"),
        ([*DOOR, "--from", "2026-05-01T09:00Z"], "--to"),
        (["erase", "--camera", "a", *HOUR], "--edge goes with --camera"),
        (["erase", "--edge", "a", *HOUR], "--all-cameras"),
        (["erase", "--edge", "a", "--unattributed", *HOUR], "--edge goes with --camera"),
        (["erase", "--edge", "", "--camera", "a", *HOUR], "is empty"),
        (["erase", "--unattributed", *HOUR], "whole days"),
        ([*DOOR, "--all-cameras", *HOUR], "not allowed with"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_settings_that_are_missing_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The broker's are not needed."""
    for name in environment("http://x"):
        monkeypatch.delenv(name, raising=False)
    assert commands.main([*DOOR, *HOUR]) == 2
    said = capsys.readouterr().err
    assert "COS_ENDPOINT: is not set" in said
    assert "MQTT" not in said


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (("--edge", "tx2-1", "--camera", "front-door"), "nothing of an edge 'tx2-1' at all, but of: tx2-01"),
        (("--edge", "tx2-1", "--all-cameras"), "nothing of an edge 'tx2-1' at all, but of: tx2-01"),
        (("--edge", "tx2-01", "--camera", "door"), "nothing of a camera 'door' at all, but of: front door"),
    ],
)
def test_a_misspelt_name_does_not_look_like_a_camera_that_saw_nobody(
    who: tuple[str, ...], said: str, bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(bucket, key(EIGHT, camera="front door"))
    assert commands.main(["erase", *who, *HOUR, "--yes"]) == 0
    assert said in capsys.readouterr().err


def test_old_versions_go_too(moto: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that were written over, and those that were deleted before: more than fit into one list."""
    client = sdk(moto)
    fill(client, key(EIGHT, name="before"))
    client.put_bucket_versioning(Bucket="faces", VersioningConfiguration={"Status": "Enabled"})
    monkeypatch.setattr(listing, "_PAGE", 7)
    many = [key(EIGHT, name=f"{i:04}") for i in range(20)]
    fill(client, *many, *many, key(EIGHT, camera="other"))
    client.delete_object(Bucket="faces", Key=many[7])
    use(monkeypatch, environment(moto))
    assert commands.main([*DOOR, *HOUR, "--yes"]) == 0
    said = capsys.readouterr().out
    left = client.list_object_versions(Bucket="faces")
    assert [each["Key"] for each in left["Versions"]] == [key(EIGHT, camera="other")]
    assert "DeleteMarkers" not in left
    assert "42 deleted" in said


def test_what_comes_meanwhile_goes_too(bucket: Any) -> None:
    """Up to a point: where more comes than goes, that is told."""
    fill(bucket, key(EIGHT, name="0"))
    store = store_at(
        os.environ["COS_ENDPOINT"],
        keys=(os.environ["COS_HMAC_ACCESS_KEY_ID"], os.environ["COS_HMAC_SECRET_ACCESS_KEY"]),
    )
    span = seen(camera_folder("tx2-01", "front-door"), EIGHT, EIGHT + timedelta(hours=1))
    one_more = Erasure(store, [span], lambda n: fill(bucket, key(EIGHT, name="1")) if n == 1 else None)
    assert one_more.run() == {}
    assert (one_more.deleted, one_more.unfinished, keys_in(bucket)) == (2, False, set())
    fill(bucket, key(EIGHT, name="0"))
    ever_more = Erasure(store, [span], lambda n: fill(bucket, key(EIGHT, name=str(n))))
    ever_more.run()
    assert ever_more.unfinished


# Broken off


def put_file(s3: S3Server, name: str) -> Path:
    path = s3.folder / "faces" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"face")
    return path


def start(*arguments: tuple[str, ...], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cloud_saver", *(word for words in arguments for word in words)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=env, **pipes | options)


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "the store dies"])
def test_what_was_broken_off_is_gone_on_with(how: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a few requests' worth; the same command does the rest."""
    for i in range(2500):
        put_file(s3, key(EIGHT, name=f"{i:04}"))
    stays = put_file(s3, key(EIGHT, camera="other"))
    s3.forget()
    folder = stays.parents[4] / "front-door/2026/05/01"
    stopped = threading.Event()

    def stop_at_the_second(data: bytes) -> None:
        if b"?delete" in data and len([*folder.iterdir()]) < 2500 and not stopped.is_set():
            s3.pause()
            stopped.set()

    with Proxy(s3.port, watch=lambda: stop_at_the_second) as proxy:
        use(monkeypatch, environment(f"http://127.0.0.1:{proxy.port}", s3.access_key_id, s3.secret_access_key))
        process = start(DOOR, HOUR, ("--yes",))
        assert stopped.wait(60), "no second request"
        if how == "the store dies":
            s3.kill()
        else:
            process.send_signal(signal.Signals[how])
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == (1 if how == "the store dies" else 130), complaint
    assert "Traceback" not in complaint
    if how == "the store dies":
        assert "COS_ENDPOINT" in complaint
        s3.start()
    else:
        assert "interrupted" in complaint
        assert "run again: python3 -m cloud_saver erase --edge tx2-01 --camera front-door --from" in complaint
        s3.resume()
    left = eventually(lambda: len([*folder.iterdir()]))
    assert 0 < left < 2500
    use(monkeypatch, environment(s3.endpoint, s3.access_key_id, s3.secret_access_key))
    assert commands.main([*DOOR, *HOUR, "--yes"]) == 0
    assert list(s3.objects("faces").values()) == [stays]


# Stores that are not well


def no_rights(_request: Request) -> Answer:
    return Answer(403, b"<Error><Code>AccessDenied</Code></Error>")


def test_what_the_store_refuses_is_told(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not there, rights that are missing, and nobody who listens."""
    for changes, said in (
        ({"COS_BUCKET": "nowhere"}, "COS_BUCKET nowhere does not exist"),
        ({"COS_ENDPOINT": "http://127.0.0.1:9"}, "COS_ENDPOINT http://127.0.0.1:9 cannot be used"),
    ):
        use(monkeypatch, environment(moto) | changes)
        assert said in complaint_of([*DOOR, *HOUR, "--yes"])
    with FakeHttp(no_rights) as fake:
        use(monkeypatch, environment(fake.url))
        assert "the credentials may not list COS_BUCKET faces (HTTP 403 AccessDenied)" in complaint_of([*DOOR, *HOUR])


def complaint_of(arguments: list[str], *, status: int = 1) -> str:
    process = start(tuple(arguments))
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == status, complaint
    assert "Traceback" not in complaint
    assert "hush" not in complaint
    return complaint


LISTED = f"<Contents><Key>{key(EIGHT)}</Key><Size>4</Size></Contents>"


def list_of(inside: str = LISTED) -> Answer:
    return Answer(200, f"<ListBucketResult xmlns='http://s3'>{inside}</ListBucketResult>".encode())


def store_with(listed: Answer, deleted: str = "", versioning: Answer | None = None) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        if "versioning" in request.path:
            return versioning or Answer(200, b"<VersioningConfiguration/>")
        return listed

    return answer


def erase_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: Callable[[Request], Answer]
) -> tuple[int, str, int]:
    """Status, what was complained about, and the number of requests to delete."""
    with FakeHttp(answer) as fake:
        use(monkeypatch, environment(fake.url))
        status = commands.main([*DOOR, *HOUR, "--yes"])
        return status, capsys.readouterr().err, sum(request.method == "POST" for request in fake.requests)


def test_objects_that_cannot_be_deleted_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lock on the bucket, say; each is tried three times."""
    refused = f"<Error><Key>{key(EIGHT)}</Key><Code>AccessDenied</Code></Error>"
    status, said, tries = erase_at(monkeypatch, capsys, store_with(list_of(), refused))
    assert (status, tries) == (1, 3)
    assert f"{key(EIGHT)}: not deleted (AccessDenied)" in said
    assert "1 could not be deleted" in said


def test_versions_that_cannot_be_seen_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bucket that keeps what is deleted must not look like one that does not."""
    deleted = f"<Deleted><Key>{key(EIGHT)}</Key><DeleteMarker>true</DeleteMarker></Deleted>"
    status, said, _ = erase_at(monkeypatch, capsys, store_with(list_of(), deleted, versioning=Answer(403, b"<Error/>")))
    assert status == 1
    assert "still there" in said


BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;'>]><ListBucketResult>&b;</ListBucketResult>"


@pytest.mark.parametrize(
    "listed",
    [
        Answer(200, b"<html>Welcome to our hotel's network</html>"),
        Answer(200, b"welcome"),
        Answer(200),
        Answer(200, BOMB.encode()),
        Answer(200, BOMB.encode("utf-16")),
        Answer(200, b"<?xml version='1.0' encoding='no-such'?><ListBucketResult/>"[:-3]),
        Answer(200, b"\xff<ListBucketResult/>"),
        list_of("<Contents><Size>4</Size></Contents>"),
        list_of(f"<Contents><Key>{key(EIGHT)}</Key><Size>-1</Size></Contents>"),
        list_of(f"<Contents><Key>{key(EIGHT)}</Key></Contents>"),
        list_of("<Contents><Key>faces/tx2-02/a.png</Key><Size>4</Size></Contents>"),
        list_of(LISTED.replace("-a.png", "-b.png") + LISTED + "<IsTruncated>true</IsTruncated>"),
        list_of(f"{LISTED}<IsTruncated>true</IsTruncated>"),
        list_of("<IsTruncated>true</IsTruncated>"),
    ],
    ids=lambda answer: answer.body[-60:].decode("latin-1"),
)
def test_a_list_that_is_none_deletes_nothing(
    listed: Answer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever answers there, by mistake or on purpose."""
    status, said, tries = erase_at(monkeypatch, capsys, store_with(listed))
    assert (status, tries) == (1, 0)
    assert "not as an object store does" in said


def test_a_store_that_does_not_say_what_it_deleted_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts as not done."""
    status, said, _ = erase_at(monkeypatch, capsys, store_with(list_of()))
    assert status == 1
    assert "it does not tell of all objects of a request" in said


def test_a_request_to_delete_is_as_the_sdk_makes_it() -> None:
    """The same objects under the same checksum."""
    names = [key(EIGHT, camera="a&b<c"), key(EIGHT, name="~ +")]
    deleted = "".join(f"<Deleted><Key>{n}</Key></Deleted>" for n in "ab")
    listed = "".join(f"<Contents><Key>{n.replace('&', '&amp;')}</Key><Size>4</Size></Contents>" for n in names)
    with FakeHttp(store_with(list_of(listed), deleted)) as fake:
        store = store_at(fake.url)
        Erasure(store, [seen("faces/", EIGHT, EIGHT)._replace(after="", before="")]).run()
        ours = next(request for request in fake.requests if request.method == "POST")
        fake.requests.clear()
        sdk(fake.url).delete_objects(Bucket="faces", Delete={"Objects": [{"Key": name} for name in names]})
        (theirs,) = fake.requests

    def in_it(request: Request) -> list[bytes]:
        return re.findall(rb"<Key>(.*?)</Key>", request.body)

    assert in_it(ours) == in_it(theirs)
    assert ours.path.replace("/?", "?").rstrip("=") == theirs.path.rstrip("=")
    assert ours.headers["content-md5"]
