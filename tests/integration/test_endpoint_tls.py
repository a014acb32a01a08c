"""Certificates and proxies between the saver and the store."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from object_store.errors import Problem
from tests.support.certificates import Authority
from tests.support.fake_http import Answer, FakeHttp, stored
from tests.support.raw_http import OK, Client, RawHttp, answering
from tests.support.stores import FACE, here, iam_store, refusal, store_at, wait_for_the_end


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(authority: Authority, *, host: str = "127.0.0.1") -> ssl.SSLContext:
    pair = authority.issue("store", host=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    return context


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_of_one_s_own_is_trusted_where_it_is_named(
    variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are kept, and what the server ends is noticed, as without TLS."""
    monkeypatch.setenv(variable, str(authority.cert))
    with RawHttp(answering(OK, OK), certificate=tls(authority)) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 1
        wait_for_the_end(store)
        store.put(FACE)
        assert server.connections == 2


def test_a_ca_that_nobody_knows_is_told_and_nothing_is_sent(authority: Authority) -> None:
    heads = []
    with RawHttp(lambda client: heads.append(client.head()), certificate=tls(authority)) as server:
        error = refusal(store_at(server.url))
        assert error.problem is Problem.UNREACHABLE
        for said in (
            server.url,
            "certificate that is not to be trusted",
            "unable to get local issuer",
            "AWS_CA_BUNDLE",
        ):
            assert said in str(error)
    assert heads == []


def test_a_certificate_of_another_host_is_told(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.cert))
    with RawHttp(answering(OK), certificate=tls(authority, host="127.0.0.2")) as server:
        assert "127.0.0.1" in str(refusal(store_at(server.url))).split("(")[1]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    """By its name and its variable."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with RawHttp(answering(OK)) as server:
        error = str(refusal(store_at(server.url.replace("http:", "https:"))))
        assert "AWS_CA_BUNDLE" in error
        assert str(bundle) in error


def test_a_server_without_tls_is_told_where_there_should_be_some() -> None:
    with FakeHttp(stored) as server:
        error = refusal(store_at(server.url.replace("http:", "https:")))
        assert error.problem is Problem.UNREACHABLE
        assert "SSL" in str(error)
        assert server.requests == []


# Proxies


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_http_goes_through_the_proxy_that_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its user's name and password, which appear nowhere else."""
    with FakeHttp(stored) as proxy:
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"{scheme}us%40er:hush-word@{address}")
        store = store_at("http://store.example:9000")
        store.put(FACE)
        (request,) = proxy.requests
        assert request.path == f"http://store.example:9000/faces/{FACE.key}"
        assert request.headers["host"] == "store.example:9000"
        assert request.headers["proxy-authorization"] == "Basic dXNAZXI6aHVzaC13b3Jk"
        assert "proxy-authorization" not in request.headers["authorization"]
        proxy.answer = lambda _request: Answer(407)
        refusal(store)


def test_https_goes_through_a_tunnel(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy learns the store's name and nothing else."""
    asked = []
    context = tls(authority, host="192.0.2.1")

    def tunnel(client: Client) -> None:
        asked.append(client.head())
        client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(client.socket, server_side=True) as inside:
            answering(OK, OK)(Client(inside, 1))

    with RawHttp(tunnel) as proxy:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.cert))
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:hush-word@"))
        store = store_at("https://192.0.2.1:9")
        store.put(FACE)
        store.put(FACE)
    (head,) = asked
    assert head.startswith(b"CONNECT 192.0.2.1:9 HTTP/1.")
    assert b"Proxy-Authorization: Basic bWU6aHVzaC13b3Jk" in head


def test_a_proxy_that_refuses_a_tunnel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawHttp(answering(b"HTTP/1.1 407 Who are you?\r\n\r\n")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:hush-word@"))
        error = refusal(store_at("https://store.example"))
        assert error.problem is Problem.UNREACHABLE
        assert "(407 Who are you?): correct them in HTTPS_PROXY" in str(error)
        assert "hush-word" not in str(error)


def test_no_proxy_is_used_for_hosts_that_are_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeHttp(stored) as server:
        store_at(server.url).put(FACE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_without_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look for the store on its own machine."""
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    with FakeHttp(stored) as server:
        store_at(server.url.replace("127.0.0.1", host)).put(FACE)
        assert len(server.requests) == 1


def test_a_host_without_a_domain_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `demo-s3` in the network of the containers."""
    monkeypatch.setattr("socket.getaddrinfo", here("demo-s3"))
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    with FakeHttp(stored) as server:
        store_at(server.url.replace("127.0.0.1", "demo-s3")).put(FACE)
        assert len(server.requests) == 1


def test_a_ca_file_that_was_renewed_is_read_again(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart: the next connection trusts it."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Authority(tmp_path, "old").cert.read_bytes())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with RawHttp(answering(OK), certificate=tls(authority)) as server:
        store = store_at(server.url)
        assert "not to be trusted" in str(refusal(store))
        bundle.write_bytes(authority.cert.read_bytes() + b"\n")
        store.put(FACE)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:9", "https://127.0.0.1:9", "http://127.0.0.1:hush", "http://.a"])
def test_a_proxy_that_cannot_be_used_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not end a worker."""
    monkeypatch.setenv("http_proxy", url)
    assert refusal(store_at("http://store.example")).problem is Problem.UNREACHABLE


def test_the_token_server_is_asked_through_the_proxy_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHttp(
        lambda _request: Answer(200, b'{"access_token": "the-token", "expires_in": 3600}', {"ETag": "1"})
    ) as p:
        monkeypatch.setenv("http_proxy", p.url)
        iam_store("http://store.example", "http://iam.example").put(FACE)
        assert [r.path for r in p.requests] == [
            "http://iam.example/identity/token",
            f"http://store.example/faces/{FACE.key}",
        ]
