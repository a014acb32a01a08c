"""Passwords, sessions and links of the gallery."""

from __future__ import annotations

import time

import pytest
from starlette.requests import Request
from starlette.responses import Response

from cloud_gallery import access
from cloud_gallery.access import Access, Links
from cloud_gallery.password import hashed, is_hash, matches
from cloud_gallery.settings import GallerySettings, origin_of

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def password_hash() -> str:
    return hashed(PASSWORD)


@pytest.fixture
def gate(password_hash: str) -> Access:
    return Access(
        GallerySettings(
            mqtt_url="mqtt://unused",
            cos_endpoint="http://store",
            cos_bucket="faces",
            cos_hmac_access_key_id="key",
            cos_hmac_secret_access_key="secret",
            gallery_password=password_hash,
        )
    )


def request_with(response: Response) -> Request:
    cookie = response.headers.get("set-cookie", "").partition(";")[0]
    return Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})


def test_a_password_matches_its_own_hash_only(password_hash: str) -> None:
    """Which is another one each time."""
    assert matches(PASSWORD, password_hash)
    assert not matches(PASSWORD + " ", password_hash)
    assert not matches("", password_hash)
    assert not matches("x" * 10_000, password_hash)
    assert hashed(PASSWORD) != password_hash
    assert PASSWORD not in password_hash


@pytest.mark.parametrize("text", ["", "secret", "scrypt:", "scrypt:YQ==:YQ==", "scrypt:ä:ö", "md5:YQ==:YQ=="])
def test_what_is_no_hash_is_told_apart(text: str) -> None:
    """And lets nobody in."""
    assert not is_hash(text)
    assert not matches(text, text)


def test_sessions_end(gate: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a day, whoever uses them."""
    response = Response()
    assert gate.log_in(PASSWORD, response)
    request = request_with(response)
    assert gate.may_look(request)
    later = time.monotonic() + access.SESSION_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not gate.may_look(request)


@pytest.mark.parametrize("clock", range(3))
def test_a_clock_that_stands_still_prolongs_no_session(
    gate: Access, monkeypatch: pytest.MonkeyPatch, clock: int
) -> None:
    """Monotonic ones stand still while a machine sleeps or is suspended, and the wall clock jumps."""
    response = Response()
    begun = (1000.0, 2000.0, 3000.0)
    monkeypatch.setattr(access, "_clocks", lambda: begun)
    assert gate.log_in(PASSWORD, response)
    passed = [0.0, 0.0, 0.0]
    passed[clock] = access.SESSION_SECONDS - 1.0
    passed[clock - 1] = -1e6
    monkeypatch.setattr(access, "_clocks", lambda: tuple(map(sum, zip(begun, passed, strict=True))))
    assert gate.may_look(request_with(response))
    passed[clock] += 2.0
    assert not gate.may_look(request_with(response))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Faces.example.ORG:443/x", "https://faces.example.org"),
        ("http://faces.example.org.:80", "http://faces.example.org"),
        ("http://faces.example.org:443", "http://faces.example.org:443"),
        ("HTTPS://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("https://müller.example", "https://xn--mller-kva.example"),
        ("null", ""),
        ("", ""),
        ("file:///etc/passwd", ""),
        ("https://", ""),
        ("https://x:port", ""),
        ("https://[::1", ""),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_sessions_are_bounded(gate: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way."""
    monkeypatch.setattr(access, "_MAX_SESSIONS", 2)
    responses = [Response() for _ in range(3)]
    assert all(gate.log_in(PASSWORD, response) for response in responses)
    assert [gate.may_look(request_with(response)) for response in responses] == [False, True, True]


def test_a_minute_after_too_many_tries_one_may_try_again(gate: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "matches", lambda password, _hash: password == PASSWORD)
    assert [gate.log_in("guess", Response()) for _ in range(11)] == [False] * 10 + [None]
    assert gate.log_in(PASSWORD, Response()) is None
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert gate.log_in(PASSWORD, Response())
    assert gate.refused == 10


def test_a_link_is_for_one_face_and_for_a_while() -> None:
    """Nobody can make another one of it."""
    links = Links("api-key")
    until = int(time.time()) + 60
    signature = links.signature("faces/a", until)
    assert links.is_valid("faces/a", str(until), signature)
    assert not links.is_valid("faces/b", str(until), signature)
    assert not links.is_valid("faces/a", str(until + 1), signature)
    assert not links.is_valid("faces/a", "", signature)
    assert not links.is_valid("faces/a", "9" * 13, signature)
    assert not links.is_valid("faces/a", str(until), "ä")
    past = int(time.time()) - 1
    assert not links.is_valid("faces/a", str(past), links.signature("faces/a", past))
    assert not Links("other").is_valid("faces/a", str(until), signature)
