"""What the gallery lets in: logins from its own pages, however its address is written."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from cloud_gallery.access import Access
from cloud_gallery.gate import Gate
from cloud_gallery.password import hashed
from cloud_gallery.settings import GallerySettings
from face_messages.service.settings import SettingsError
from tests.support.stores import environment


@pytest.fixture(scope="module")
def password_hash() -> str:
    return hashed("correct horse battery")


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch, password_hash: str) -> None:
    settings = environment("http://store") | {"MQTT_URL": "mqtt://unused", "GALLERY_PASSWORD": password_hash}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def status_of(gate: Gate, method: str, *, host: str, origin: str = "") -> int:
    """What a request for the way in is answered with; 200 if the gate lets it pass."""
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
    scope = {"type": "http", "method": method, "path": "/login", "query_string": b"", "headers": headers}
    statuses: list[int] = []

    async def send(message: Message) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(gate(scope, receive, send))
    (status,) = statuses
    return status


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("urls", "origin", "status"),
    [
        ("https://faces.example.org", "https://faces.example.org", 200),
        ("https://FACES.Example.org:443/", "https://faces.example.org", 200),
        ("http://faces.example.org", "http://faces.example.org:80", 200),
        ("https://faces.example.org:8443", "https://faces.example.org:8443", 200),
        ("https://faces.example.org,http://10.0.0.5:8080", "http://10.0.0.5:8080", 200),
        ("https://[2001:db8::1]:8443", "https://[2001:DB8::1]:8443", 200),
        ("https://müller.example", "https://xn--mller-kva.example", 200),
        ("https://example.org/faces", "https://example.org", 200),
        ("https://faces.example.org", "http://faces.example.org", 403),
        ("https://faces.example.org", "https://faces.example.org:8443", 403),
        ("https://faces.example.org", "https://evil.example.org", 403),
    ],
)
def test_a_login_from_its_own_address_is_accepted_whatever_host_the_proxy_names(
    monkeypatch: pytest.MonkeyPatch, urls: str, origin: str, status: int
) -> None:
    """Written in any way that browsers and people write it."""
    monkeypatch.setenv("GALLERY_URL", urls)
    settings = GallerySettings.load()
    gate = Gate(PlainTextResponse("in"), Access(settings), settings)
    assert status_of(gate, "POST", host="127.0.0.1:8080", origin=origin) == status
    if status == 200:
        assert status_of(gate, "POST", host="cloud_gallery:8080", origin=origin) == status
        assert status_of(gate, "GET", host="upstream") == 200


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    "url",
    ["faces.example.org", "ftp://x.example", "https://u:p@x.example", "https://x.example/?a", "https://x:99999"],
)
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GALLERY_URL", url)
    with pytest.raises(SettingsError, match="GALLERY_URL: must be a URL such as"):
        GallerySettings.load()
