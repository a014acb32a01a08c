"""Who gets to see the faces, and under which conditions."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from cloud_gallery.password import hashed
from dev.stack.s3 import S3Server
from tests.support.fake_http import Answer, FakeHttp
from tests.support.gallery import NOON, Gallery, face, png, put
from tests.support.stores import real_store

pytest_plugins = ["tests.support.browser"]

PASSWORD = "correct horse battery"
NOWHERE = "mqtt://127.0.0.1:9"
HASH = hashed(PASSWORD)


# One gallery of each kind for all tests that leave it as it was: to start one costs more than most tests.
pytestmark = pytest.mark.xdist_group("gallery_access")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A store with one face, which no test touches."""
    server = S3Server(tmp_path_factory.mktemp("kept"))
    with server:
        yield server


@pytest.fixture(scope="module")
def key(kept: S3Server) -> str:
    return put(real_store(kept), [face(NOON)])[0]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, kept: S3Server) -> Iterator[Gallery]:
    """A gallery that wants a password."""
    with Gallery(tmp_path_factory.mktemp("closed"), NOWHERE, kept, GALLERY_PASSWORD=HASH) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, kept: S3Server) -> Iterator[Gallery]:
    with Gallery(tmp_path_factory.mktemp("local"), NOWHERE, kept) as gallery:
        yield gallery


def log_in(gallery: Gallery, password: str = PASSWORD, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return gallery.request("/login", post={"password": password}, **({"Origin": gallery.url} | headers))


def session(gallery: Gallery) -> str:
    status, headers, _ = log_in(gallery)
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


def test_beyond_this_machine_it_does_not_start_without_a_password(tmp_path: Path, s3: S3Server) -> None:
    """And says how to get one; a password that is no hash is refused, too."""
    for settings in ({"GALLERY_HOST": "0.0.0.0"}, {"GALLERY_URL": "https://x.example"}, {"GALLERY_PASSWORD": "plain"}):
        gallery = Gallery(tmp_path, NOWHERE, s3, **settings)
        super(Gallery, gallery).start()
        assert gallery.wait(20) == 2
        assert "GALLERY_PASSWORD: " in gallery.log_text()
        assert "cloud_gallery password" in " ".join(gallery.log_text().split())
        assert "plain" not in gallery.log_text()


@pytest.mark.usefixtures("key")
def test_people_log_in_and_out(page: Page, closed: Gallery) -> None:
    """A wrong password is told, the right one leads to the faces, and leaving ends the session."""
    page.goto(closed.url)
    page.get_by_label("Password").fill("wrong")
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")
    expect(page.locator(".face")).to_have_count(1)
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    kept = f"{cookie['name']}={cookie['value']}"
    assert closed.request("/api/faces", Cookie=kept)[0] == 200
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert closed.request("/api/faces", Cookie=kept)[0] == 401


def test_strangers_see_nothing_but_the_way_in(closed: Gallery, key: str) -> None:
    assert closed.request("/")[:2][0] == 303
    for path in ("/events", "/api/cameras", "/api/days", "/api/faces", f"/api/face?key={key}", f"/image?key={key}"):
        for cookie in ("", "session=", "session=abc"):
            status, _, body = closed.request(path, Cookie=cookie)
            assert (status, b"ended" in body) == (401, True)
    assert closed.request(f"/shared?key={key}&until=9999999999&signature=00")[0] == 403
    assert closed.request("/login")[0] == 200


def test_guessing_is_slowed_down(tmp_path: Path, kept: S3Server) -> None:
    """And who is in stays in meanwhile."""
    with Gallery(tmp_path, NOWHERE, kept, GALLERY_PASSWORD=HASH) as guessed:
        cookie = session(guessed)
        assert [log_in(guessed, f"guess {i}")[0] for i in range(12)] == [403] * 10 + [429] * 2
        status, _, body = log_in(guessed)
        assert (status, b"Too many tries" in body) == (429, True)
        assert guessed.request("/api/cameras", Cookie=cookie)[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_another_site_can_neither_log_in_nor_out(closed: Gallery, origin: str) -> None:
    cookie = session(closed)
    assert log_in(closed, Origin=origin)[0] == 403
    assert closed.request("/logout", post={}, Origin=origin, Cookie=cookie)[0] == 403
    assert closed.request("/logout", Origin=closed.url, Cookie=cookie)[0] == 405
    assert closed.request("/api/cameras", Cookie=cookie)[0] == 200


def test_without_a_password_it_answers_under_this_machine_s_name_only(local: Gallery) -> None:
    """A site whose name was made to lead here cannot ask for anything."""
    assert local.request("/api/cameras", Host="evil.example")[0] == 421
    assert local.request("/api/cameras", Host=f"localhost:{local.port}")[0] == 200


def test_behind_a_proxy_cookies_are_for_https_and_for_its_name(tmp_path: Path, s3: S3Server) -> None:
    url = "https://faces.example.org"
    with Gallery(tmp_path, NOWHERE, s3, GALLERY_PASSWORD=HASH, GALLERY_URL=url) as gallery:
        status, headers, _ = log_in(gallery, Origin=url, Host="faces.example.org")
        assert status == 303
        assert re.match(
            r"__Host-session=[\w-]{40,}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax; Secure", headers["set-cookie"]
        )
        assert log_in(gallery, Origin="https://other.example", Host="other.example")[0] == 421


def test_every_answer_forbids_what_the_page_does_not_need(local: Gallery, key: str) -> None:
    """Pictures may do nothing at all, and are pictures only."""
    for path in ("/", "/gallery.js", "/api/faces", "/nothing", "/login"):
        _, headers, _ = local.request(path)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    status, headers, body = local.request(f"/image?key={key}")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "immutable" in headers["cache-control"]
    assert body.startswith(b"\x89PNG")


def test_what_only_says_that_it_is_a_picture_is_not_served(tmp_path: Path, s3: S3Server) -> None:
    """Nor anything else in the bucket."""
    (key,) = put(real_store(s3), [face(NOON)])
    (s3.folder / "faces" / key).write_bytes(b"<html><script>alert(1)</script>")
    (s3.folder / "faces" / "secret.png").write_bytes(png())
    with Gallery(tmp_path, NOWHERE, s3) as gallery:
        for asked in (
            key,
            "secret.png",
            "faces/../secret.png",
            "faces/%2e%2e/secret.png",
            "",
            key.replace("door", "gate"),
        ):
            assert gallery.request(f"/image?key={asked}")[0] == 404
            assert gallery.request(f"/api/face?key={asked}")[0] == (200 if asked == key else 404)


@pytest.mark.parametrize("path", ["/api/faces?before='", "/api/faces?before=../..&count=5", "/api/faces?count=-1"])
def test_senseless_requests_are_refused(local: Gallery, path: str) -> None:
    assert local.request(path)[0] == 400


def test_a_form_that_is_too_large_is_refused(closed: Gallery) -> None:
    assert closed.request("/login", post={"password": "x" * 10_000}, Origin=closed.url)[0] == 413
    assert session(closed)


def test_leaving_ends_what_is_told(closed: Gallery) -> None:
    """Also on a page that is open elsewhere."""
    cookie = session(closed)
    connection = http.client.HTTPConnection("127.0.0.1", closed.port, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": cookie})
    events = connection.getresponse()
    assert events.readline() == b"retry: 2000\n"
    assert closed.request("/logout", post={}, Origin=closed.url, Cookie=cookie)[0] == 303
    assert b"event: face" not in events.read()
    connection.close()


def test_with_an_iam_key_links_lead_to_the_gallery(tmp_path: Path) -> None:
    """For one picture and an hour each, whoever has them; the key and the token are not in them."""
    stored = face(NOON)
    answered = {"access_token": "the-token", "expires_in": 3600, "expiration": int(time.time()) + 3600}
    iam = {"COS_API_KEY_ID": "hush-api-key", "COS_INSTANCE_CRN": "crn:v1:instance"}
    iam |= {"COS_HMAC_ACCESS_KEY_ID": "", "COS_HMAC_SECRET_ACCESS_KEY": "", "GALLERY_PASSWORD": HASH}
    with (
        FakeHttp(lambda _request: Answer(200, json.dumps(answered).encode())) as auth,
        FakeHttp(lambda _request: Answer(200, stored.body)) as cos,
        Gallery(tmp_path, NOWHERE, cos.url, **iam, COS_AUTH_ENDPOINT=f"{auth.url}/identity/token") as gallery,
    ):
        status, _, body = gallery.request(f"/api/face?key={stored.key}", Cookie=session(gallery))
        link = json.loads(body)["link"]
        assert (status, link.startswith("/shared?")) == (200, True)
        assert "the-token" not in link
        assert "hush" not in link
        until = int(parse_qs(urlsplit(link).query)["until"][0])
        assert 3590 < until - time.time() <= 3600
        status, headers, body = gallery.request(link)
        assert (status, headers["content-type"], body) == (200, "image/png", stored.body)
        asked = len(cos.requests)
        for changed in (link.replace("door", "yard"), link.replace(str(until), str(until + 1)), link[:-1]):
            assert gallery.request(changed)[0] == 403
        assert len(cos.requests) == asked


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", []),
        (b"GET / HTTP/1.1\r\nHost: ", []),
        (b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\nGET /login HT", [b"200"]),
        (
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 9\r\n\r\npass",
            [b"408"],
        ),
        (b"no HTTP at all\r\n\r\n", [b"400"]),
    ],
    ids=["nothing", "half a request", "one and a half", "half a form", "nonsense"],
)
def test_nobody_keeps_a_place_by_being_slow(closed: Gallery, sent: bytes, answered: list[bytes]) -> None:
    """There are 500, for all."""
    with socket.create_connection(("127.0.0.1", closed.port), timeout=30) as slow:
        slow.sendall(sent)
        said = b"".join(iter(lambda: slow.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == answered
