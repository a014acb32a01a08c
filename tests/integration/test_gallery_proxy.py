"""The gallery behind a proxy as it comes: people get in, and see faces arrive; otherwise it is said why not."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dev.stack.mosquitto import Mosquitto
from dev.stack.ports import free_port
from dev.stack.s3 import S3Server
from tests.integration.test_gallery_access import HASH, NOWHERE, PASSWORD
from tests.support.certificates import Authority
from tests.support.gallery import NOON, Gallery, face, put
from tests.support.nginx import Nginx
from tests.support.plain import plain_client, publish
from tests.support.programs import ROOT
from tests.support.stores import real_store
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.browser"]

CARDS = ".face"
ENDLESS = 120_000


def example(port: int, gallery: int, authority: Authority) -> str:
    """The server of docs/gallery.md, with other places."""
    server: str
    (server,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/gallery.md").read_text(), re.DOTALL)
    pair = authority.issue("proxy")
    places = [
        (r"443", f"127.0.0.1:{port}"),
        (r"faces\.example\.org(?=;)", "127.0.0.1"),
        (r"/\S+fullchain\.pem", str(pair.cert)),
        (r"/\S+privkey\.pem", str(pair.key)),
        (r"127\.0\.0\.1:8080", f"127.0.0.1:{gallery}"),
    ]
    for there, here in places:
        server, count = re.subn(there, here, server)
        assert count, there
    return server


def plain(port: int, location: str) -> str:
    return f"server {{ listen 127.0.0.1:{port}; {location} }}"


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """Of a browser that knows the authority, say."""
    with browser.new_context(ignore_https_errors=True, permissions=["clipboard-read", "clipboard-write"]) as context:
        yield context.new_page()


def log_in(tab: Page, url: str) -> None:
    tab.goto(url)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_label("Password").press("Enter")
    expect(tab.locator(CARDS)).to_have_count(1)


def tell_of_another(broker: Mosquitto, s3: S3Server) -> None:
    (key,) = put(real_store(s3), [face(datetime.now(UTC))])
    with plain_client(broker.port) as client:
        publish(client, "facedetection_stored/tx2/door", key.encode())


def test_with_the_example_of_the_docs_people_get_in_and_see_faces_arrive(
    tab: Page, tmp_path: Path, broker: Mosquitto, s3: S3Server
) -> None:
    """Over https: nginx hands on its upstream's name as Host, and would hold events back."""
    put(real_store(s3), [face(NOON)])
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    with (
        Gallery(tmp_path, broker.url, s3, GALLERY_PASSWORD=HASH, GALLERY_URL=url) as gallery,
        Nginx(tmp_path / "nginx", example(port, gallery.port, Authority(tmp_path)), port=port),
    ):
        log_in(tab, url)
        (cookie,) = tab.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-session", True, True)
        expect(tab.locator("#status")).to_have_text("live")
        tell_of_another(broker, s3)
        expect(tab.locator(CARDS)).to_have_count(2)
        tab.get_by_role("button", name="Log out").click()
        expect(tab.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("end", ["/", ""])
def test_it_may_be_served_below_a_folder(tab: Page, tmp_path: Path, broker: Mosquitto, s3: S3Server, end: str) -> None:
    """Whether the proxy takes the folder out of the path (nginx with a slash at the end) or leaves it there."""
    put(real_store(s3), [face(NOON)])
    port = free_port()
    url = f"http://127.0.0.1:{port}/some/faces"
    with Gallery(tmp_path, broker.url, s3, GALLERY_PASSWORD=HASH, GALLERY_URL=url) as gallery:
        location = f"location /some/faces/ {{ proxy_pass http://127.0.0.1:{gallery.port}{end and '/'}; }}"
        with Nginx(tmp_path / "nginx", plain(port, location), port=port):
            log_in(tab, f"{url}/")
            expect(tab.locator("#status")).to_have_text("live")
            drawn = "[...document.querySelectorAll('.face img')].every((one) => one.naturalWidth === 48)"
            eventually(lambda: tab.evaluate(drawn), what="the pictures are not drawn")
            tab.locator(f"{CARDS} button").click()
            tab.locator("#share").click()
            expect(tab.locator("#told")).to_contain_text("Copied")
            link = tab.evaluate("navigator.clipboard.readText()")
            assert link.startswith(f"{url}/shared?")
            tab.context.clear_cookies()
            # In a tab of its own: the page notices that it is logged out, and goes to another address itself.
            other = tab.context.new_page()
            answer = other.goto(link)
            assert answer is not None
            assert answer.headers["content-type"] == "image/png"
            other.goto(f"{url}/")
            expect(other.get_by_label("Password")).to_be_visible()


def test_where_a_proxy_holds_events_back_the_page_asks_and_says_so(
    tab: Page, tmp_path: Path, broker: Mosquitto, s3: S3Server
) -> None:
    put(real_store(s3), [face(NOON)])
    port = free_port()
    with Gallery(tmp_path, broker.url, s3) as gallery:
        upstream = f"proxy_pass http://127.0.0.1:{gallery.port};"
        location = f"location / {{ {upstream} proxy_ignore_headers X-Accel-Buffering; proxy_buffers 8 512k; }}"
        with Nginx(tmp_path / "nginx", plain(port, location), port=port):
            tab.goto(f"http://127.0.0.1:{port}")
            expect(tab.locator(CARDS)).to_have_count(1)
            expect(tab.locator("#status")).to_have_text("live, every 3 s: a proxy holds events back")
            tell_of_another(broker, s3)
            expect(tab.locator(CARDS)).to_have_count(2)


def posted(gallery: Gallery, **headers: str) -> tuple[int, str]:
    status, _, body = gallery.request("/login", post={"password": PASSWORD}, **headers)
    return status, body.decode()


@pytest.mark.parametrize(
    ("urls", "origin", "status"),
    [
        ("https://faces.example.org,http://10.0.0.5:8080", "http://10.0.0.5:8080", 303),
        ("https://faces.example.org", "https://evil.example.org", 403),
    ],
)
def test_a_login_from_its_own_address_is_accepted_whatever_host_the_proxy_names(
    tmp_path: Path, s3: S3Server, urls: str, origin: str, status: int
) -> None:
    """Further ways to write it: tests/unit/test_gallery_gate.py."""
    with Gallery(tmp_path, NOWHERE, s3, GALLERY_PASSWORD=HASH, GALLERY_URL=urls) as gallery:
        assert posted(gallery, Origin=origin, Host=f"127.0.0.1:{gallery.port}")[0] == status
        if status == 303:
            assert posted(gallery, Origin=origin, Host="cloud_gallery:8080")[0] == status
            assert gallery.request("/login", Host="upstream")[0] == 200


def test_a_refused_login_tells_what_was_compared_and_what_to_set(tmp_path: Path, s3: S3Server) -> None:
    """To the person and in the log."""
    with Gallery(tmp_path, NOWHERE, s3, GALLERY_PASSWORD=HASH) as gallery:
        status, said = posted(gallery, Origin="https://faces.example.org", Host=f"127.0.0.1:{gallery.port}")
        assert status == 403
        for text in ("https://faces.example.org (header Origin)", "(header Host)", "set GALLERY_URL"):
            assert text in said
            assert text in gallery.log_text()


def test_an_address_that_is_none_is_refused_at_the_start(tmp_path: Path, s3: S3Server) -> None:
    """Further ones: tests/unit/test_gallery_gate.py."""
    gallery = Gallery(tmp_path, NOWHERE, s3, GALLERY_PASSWORD=HASH, GALLERY_URL="https://u:p@x.example")
    super(Gallery, gallery).start()
    assert gallery.wait(20) == 2
    assert "GALLERY_URL: must be a URL such as" in gallery.log_text()


def test_events_ask_proxies_not_to_hold_them_back(tmp_path: Path, s3: S3Server) -> None:
    """In HTTP/1.0 as well, which nginx speaks to the gallery."""
    with Gallery(tmp_path, NOWHERE, s3) as gallery:
        connection = http.client.HTTPConnection("127.0.0.1", gallery.port, timeout=20)
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined] # as its tests do
        connection.request("GET", "/events", headers={"Host": "localhost"})
        answer = connection.getresponse()
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.readline() == b"retry: 2000\n"
        connection.close()
