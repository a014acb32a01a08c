"""Which proxy stands between, if any."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_messages.mqtt import proxy
from face_messages.mqtt.proxy import Proxy, ProxyError, goes_direct, proxy_for
from tests.support.http_proxy import HttpProxy

PROXY = "http://proxy.example.org:3128"


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("vm.example.org", "*"),
        ("vm.example.org", "vm.example.org"),
        ("VM.Example.org.", "vm.example.ORG"),
        ("vm.example.org", "example.org"),
        ("vm.example.org", ".example.org"),
        ("vm.example.org", "*.example.org"),
        ("example.org", ".example.org"),
        ("vm.example.org", "org"),
        ("vm.example.org", "other.example,  vm.example.org ,"),
        ("vm.example.org", "other.example vm.example.org"),
        ("vm.example.org", "vm.example.org:8883"),
        ("vm.example.org", "vm.*.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7:8883"),
        ("192.0.2.7", "192.0.2.0/24"),
        ("192.0.2.7", "10.0.0.0/8,192.0.0.1/16"),
        ("192.0.2.7", "192.0.2.*"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::1", "2001:0db8:0::1"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("2001:db8::1", "[2001:db8::1]:8883"),
        ("2001:db8::1", "2001:db8::/32"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
    ],
)
def test_no_proxy_is_honoured(host: str, no_proxy: str) -> None:
    assert goes_direct(host, 8883, no_proxy)
    assert not goes_direct(host, 8883, "")


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("vm.example.org", ""),
        ("vm.example.org", ",  ,"),
        ("vm.example.org", "ample.org"),
        ("vm.example.org", "vm.example.org:443"),
        ("vm.example.org", "vm.example.org.evil.example"),
        ("vm.example.org", "sub.vm.example.org"),
        ("vm.example.org", "192.0.2.0/24"),
        ("vm.example.org", "."),
        ("vm.example.org", "localhost,127.0.0.1"),
        ("192.0.2.7", "192.0.2.70"),
        ("192.0.2.7", "2.7"),
        ("192.0.2.7", "192.0.3.0/24"),
        ("192.0.2.7", "192.0.2.0/99"),
        ("192.0.2.7", "192.0.2.7:1883"),
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8::1", "::/99999"),
        ("2001:db8::1", "[2001:db8::1]:443"),
        ("10.0.0.7", "172.16.0.0/12"),
    ],
)
def test_what_no_proxy_does_not_name_goes_through_the_proxy(host: str, no_proxy: str) -> None:
    assert not goes_direct(host, 8883, no_proxy)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "tx2.localhost", "127.0.0.1", "127.1", "127.8.9.10", "2130706433", "::1"),
        *("::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.1.2", "fe80::1", "fe80::1%eth0"),
        *("cloud_mosquitto", "edge_mqtt_broker", "rabbit-1", "cloud_mosquitto.hw03", "host.docker.internal"),
    ],
)
def test_this_machine_and_the_compose_network_are_never_behind_a_proxy(host: str) -> None:
    assert proxy_for(host, 8883, {"HTTPS_PROXY": PROXY}) is None


@pytest.mark.parametrize("port", [1, 1883, 8883])
@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTP_PROXY": PROXY, "http_proxy": PROXY}, None),
        ({"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": ""}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"ALL_PROXY": PROXY}, "ALL_PROXY"),
        ({"all_proxy": PROXY}, "ALL_PROXY"),
        ({"ALL_PROXY": "http://other:1", "HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org"}, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "example.org", "NO_PROXY": ""}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.net"}, "HTTPS_PROXY"),
        # Not looked at where it is not used.
        ({"HTTPS_PROXY": "socks5://proxy:1", "NO_PROXY": "*"}, None),
    ],
)
def test_the_environment_names_the_proxy(environment: dict[str, str], named: str | None, port: int) -> None:
    found = proxy_for("vm.example.org", port, environment)
    assert (None if found is None else found.variable) == named
    assert found is None or (found.host, found.port) == ("proxy.example.org", 3128)


def test_a_proxy_may_be_a_secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the environment, `docker inspect` shows."""
    monkeypatch.setattr(proxy, "_SECRETS", tmp_path)
    (tmp_path / "https_proxy").write_text("http://user:hush@proxy.example.org:3128\n")
    found = proxy_for("vm.example.org", 8883, {"HTTPS_PROXY": ""})
    assert found is not None
    assert (found.host, found.password) == ("proxy.example.org", "hush")


@pytest.mark.parametrize(
    ("text", "host", "port", "user"),
    [
        ("http://proxy", "proxy", 80, (None, None)),
        ("proxy:3128", "proxy", 3128, (None, None)),
        ("HTTP://proxy:3128/", "proxy", 3128, (None, None)),
        ("http://[2001:db8::1]:3128", "2001:db8::1", 3128, (None, None)),
        ("http://user@proxy:3128", "proxy", 3128, ("user", None)),
        ("http://us%40er:p%23%2F%C3%A9@proxy:3128", "proxy", 3128, ("us@er", "p#/é")),
        ("user:pass@proxy:3128", "proxy", 3128, ("user", "pass")),
        (r"http://DOMAIN\user:pass@proxy:3128", "proxy", 3128, (r"DOMAIN\user", "pass")),
    ],
)
def test_a_proxy_s_url(text: str, host: str, port: int, user: tuple[str | None, str | None]) -> None:
    found = Proxy.parse(text, "HTTPS_PROXY")
    assert (found.host, found.port, (found.username, found.password)) == (host, port, user)
    if user[1]:
        assert user[1] not in f"{found} {found!r}"


@pytest.mark.parametrize(
    "text",
    [
        *("socks5://proxy:1080", "https://proxy:443", "http://", "http://:3128", "http://proxy:port", "http://[::1"),
        *("http://user:12#hush@proxy:3128", "http://user:1/hush@proxy:3128", "http://user:1?hush@proxy"),
        "http://user:hush#@proxy:3128",
    ],
)
def test_what_is_wrong_with_it_is_told_without_it(text: str) -> None:
    with pytest.raises(ProxyError, match=r"^HTTPS_PROXY ") as caught:
        Proxy.parse(text, "HTTPS_PROXY")
    assert "hush" not in str(caught.value)
    assert "user" not in str(caught.value).replace("user name", "")


@given(host=st.text(), no_proxy=st.text())
def test_any_text_is_an_answer(host: str, no_proxy: str) -> None:
    goes_direct(host, 8883, no_proxy)


@given(text=st.text())
def test_any_text_is_a_proxy_or_an_error(text: str) -> None:
    with contextlib.suppress(ProxyError):
        Proxy.parse(text, "HTTPS_PROXY")


# -- CONNECT ----------------------------------------------------------------------------------


def connect(server: HttpProxy, credentials: str = "", host: str = "vm.example.org") -> socket.socket:
    return Proxy.parse(server.url(credentials), "HTTPS_PROXY").connect(host, 8883, timeout=2)


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("vm.example.org", "vm.example.org:8883"),
        ("2001:db8::1", "[2001:db8::1]:8883"),
        ("bücher.example", "xn--bcher-kva.example:8883"),
    ],
)
def test_the_proxy_is_told_where_to(host: str, target: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        HttpProxy(leads_to=there.getsockname()[1], user=("us@er", "p#é")) as server,
        connect(server, "us%40er:p%23%C3%A9@", host) as sock,
    ):
        with there.accept()[0] as broker:
            broker.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        assert server.requests[0].startswith(f"CONNECT {target} HTTP/1.1\nHost: {target}\n")


@pytest.mark.parametrize(
    ("answer", "credentials", "says"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "", "wants a user name and a password"),
        (b"HTTP/1.1 407 No\r\n\r\n", "user:hush@", "does not accept user name and password"),
        (
            b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n<html>",
            "",
            "does not let this machine connect to vm.example.org:8883",
        ),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "", "cannot reach vm.example.org:8883"),
        (b"HTTP/1.0 503 \r\n\r\n", "", "cannot reach vm.example.org:8883"),
        (b"HTTP/1.1 504 Gateway Timeout\n\n", "", "cannot reach"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n", "", "refuses to connect"),
        (b"HTTP/1.1 400\r\n\r\n", "", "refuses to connect"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "", "does not answer as an HTTP proxy does"),
        (b"\x15\x03\x01\x00\x02\x02F", "", "does not answer as an HTTP proxy does"),
        (b"HTTP/1.1 OK\r\n\r\n", "", "does not answer as an HTTP proxy does"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000, "", "does not answer as an HTTP proxy does"),
        (b"HTTP/1.1 200 O", "", "closed the connection"),
        (b"", "", "closed the connection"),
    ],
)
def test_what_the_proxy_says_is_told(answer: bytes, credentials: str, says: str) -> None:
    with HttpProxy(answer=answer) as server, pytest.raises(ProxyError, match=says) as caught:
        connect(server, credentials)
    text = str(caught.value)
    assert f"the proxy {server.url()} (HTTPS_PROXY)" in text
    assert "hush" not in text
    assert "\n" not in text


def test_a_proxy_that_is_away_or_silent_is_told() -> None:
    with HttpProxy() as server:
        pass
    with pytest.raises(ProxyError, match="cannot be reached"):
        connect(server)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        never = Proxy.parse(f"127.0.0.1:{silent.getsockname()[1]}", "HTTPS_PROXY")
        with pytest.raises(ProxyError, match=r"timed out|too long"):
            never.connect("vm.example.org", 8883, timeout=0.2)
