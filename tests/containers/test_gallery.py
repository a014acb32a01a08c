"""The gallery as on the VM: the cloud's compose file, secrets in files, and a person with a browser."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pytest

from tests.containers.engine import ROOT, compose, docker, everything_shown, inspect, run, secret_files
from tests.support.waiting import eventually

URL = "http://127.0.0.1:8080"
CLOUD = "docker-compose.cloud.yml"
PASSWORD = "correct horse battery"
PICTURE = (ROOT / "cloud_mosquitto/face.png").read_bytes()
KEYS = {"cos_hmac_access_key_id": "demo-access-key", "cos_hmac_secret_access_key": "demo-secret-key"}


@pytest.fixture(scope="module")
def known(stack: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:  # noqa: ARG001 - as `usefixtures`
    """The secrets of a gallery that runs meanwhile in place of the demo's, from another folder."""
    folder = tmp_path_factory.mktemp("vm")
    command = ("docker", "run", "--rm", "-i", "--network", "none", "cloud_gallery", "password")
    hashed = run(*command, given=PASSWORD.encode() + b"\n").stdout.decode()
    (folder / ".env").write_text("COS_ENDPOINT=http://demo-s3:9000\nCOS_BUCKET=faces\nCOMPOSE_PROFILES=gallery\n")
    files = KEYS | {"gallery_password": hashed}
    with secret_files(folder / "secrets", files):
        there = ("--project-directory", str(folder), "up", "--detach", "--no-build", "--no-deps", "cloud_gallery")
        # Removed first: compose has a container inherit the mounts of the one that it replaces.
        remove = ("rm", "--force", "--stop", "cloud_gallery")
        try:
            compose(*remove)
            compose(*there, files=[CLOUD], profiles=(), env=str(folder / ".env"))
            eventually(answers, what="it does not answer")
            yield files
        finally:
            compose(*remove)
            compose("up", "--detach", "--no-deps", "cloud_gallery")
            eventually(answers, what="the demo's does not answer again")


def answers() -> bool:
    try:
        return bool(build_opener().open(URL, timeout=5).status == HTTPStatus.OK)
    except (OSError, HTTPException):
        return False


def log_in(password: str) -> OpenerDirector:
    """A browser with a session."""
    browser = build_opener(HTTPCookieProcessor())
    assert browser.open(URL, timeout=10).url == f"{URL}/login"
    form = Request(f"{URL}/login", urlencode({"password": password}).encode(), {"Origin": URL})
    assert b"Log out" in browser.open(form, timeout=10).read()
    return browser


def next_face(events: HTTPResponse, *, ends: str) -> str:
    """The key of the next one that the page is told of, with this end, within 20 s."""
    until = time.monotonic() + 20
    for line in events:
        # There are always some: of the demo's faces, and of the health.
        assert time.monotonic() < until, "not told of"
        if line.startswith(b"data: ") and (key := json.loads(line[6:]).get("key", "")).endswith(ends):
            return str(key)
    raise AssertionError("the stream of events has ended")


def publish(png: bytes) -> None:
    tool = ("mosquitto_pub", "-t", "facedetection_topic", "-q", "1", "-s")
    run("docker", "exec", "-i", "cloud_mosquitto", *tool, given=png)


@pytest.mark.usefixtures("known")
def test_who_knows_the_password_sees_a_face_as_it_arrives(figures: list[str]) -> None:
    """By the password whose hash the image itself has made."""
    browser = log_in(PASSWORD)
    png = PICTURE + secrets.token_bytes(16)
    with browser.open(f"{URL}/events", timeout=20) as events:
        assert next(events) == b"retry: 2000\n"
        begin = time.monotonic()
        publish(png)
        key = next_face(events, ends=f"{sha256(png).hexdigest()}.png")
        figures.append(
            f"gallery: a face published is told of after {time.monotonic() - begin:.2f} s, docker exec included"
        )
    with browser.open(f"{URL}/image?key={quote(key)}", timeout=10) as image:
        assert image.read() == png
    assert browser.open(f"{URL}/api/days?in=faces/unattributed/", timeout=10).status == 200


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("password", ["demo-password", ""])
def test_nobody_else_sees_any(password: str) -> None:
    with pytest.raises(HTTPError, match="403"):
        log_in(password)
    with pytest.raises(HTTPError, match="401"):
        build_opener().open(f"{URL}/events", timeout=10)


def test_the_engine_shows_neither_password_nor_keys(known: dict[str, str]) -> None:
    log_in(PASSWORD)
    shown = everything_shown("cloud_gallery")
    assert [name for name, value in (known | {"password": PASSWORD}).items() if value.strip() in shown] == []


@pytest.mark.usefixtures("known")
def test_it_stops_at_once_though_somebody_is_looking() -> None:
    """With status 0; and who had a session logs in again."""
    browser = log_in(PASSWORD)
    with browser.open(f"{URL}/events", timeout=20) as events:
        next(events)
        begin = time.monotonic()
        docker("stop", "--time", "30", "cloud_gallery")
        assert time.monotonic() - begin < 6
    assert inspect("cloud_gallery")["State"]["ExitCode"] == 0
    docker("start", "cloud_gallery")
    eventually(answers, what="it does not answer again")
    assert browser.open(URL, timeout=10).url == f"{URL}/login"
