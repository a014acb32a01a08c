"""What becomes of an object whatever the connection and the server do."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat

import pytest

from dev.stack.s3 import S3Server
from object_store import bucket as bucket_module
from object_store.errors import Problem
from object_store.keys import StoredObject
from tests.support.raw_http import OK, Client, RawHttp, answering
from tests.support.stores import FACE, real_store, refusal, store_at, wait_for_the_end

# Connections


def test_a_connection_is_used_again() -> None:
    """By whichever thread comes next."""
    with RawHttp(answering(*repeat(OK, 20))) as server:
        store = store_at(server.url)
        for _ in range(10):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(store.put, FACE).result()
        assert server.connections == 1


def test_a_connection_that_the_server_ended_meanwhile_is_not_used() -> None:
    """Servers do so after some idle seconds, without a word."""
    with RawHttp(answering(OK)) as server:
        store = store_at(server.url)
        for _ in range(3):
            store.put(FACE)
            wait_for_the_end(store)
        assert server.connections == 3


@pytest.mark.parametrize("change", [(b"\nETag", b"\nConnection: Close\r\nETag"), (b"HTTP/1.1", b"HTTP/1.0")])
def test_a_server_that_wants_the_connection_ended_gets_a_new_one_each_time(change: tuple[bytes, bytes]) -> None:
    with RawHttp(answering(OK.replace(*change), OK)) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 2


def test_a_store_that_was_restarted_is_written_to_as_if_nothing_had_been(s3: S3Server) -> None:
    """By all threads, each of which had a connection."""
    store = real_store(s3)
    store.put(FACE)  # makes the folder: this server may answer 500 to some of those that make one at the same time
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.put, [replace(FACE, key=f"{FACE.key}-{i}") for i in range(50)]))
        s3.kill()
        s3.start()
        list(pool.map(store.put, [replace(FACE, key=f"{FACE.key}-{i}") for i in range(50, 100)]))
    assert len(s3.objects("faces")) == 101


@pytest.mark.parametrize("arrived", [False, True], ids=["it had not arrived", "it had"])
def test_a_connection_that_ends_as_the_object_is_sent(arrived: bool) -> None:
    """The store is asked whether it has the object: it is not written twice, and no error."""
    heads: list[bytes] = []

    def serve(client: Client) -> None:
        while head := client.request():
            heads.append(head.split(b" ")[0])
            if client.number == 1 and len(heads) == 2:
                return
            etag = hashlib.md5(FACE.body if arrived else b"").hexdigest().encode()
            client.send(OK.replace(b'"0"', b'"%s"' % etag))

    with RawHttp(serve) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert heads == [b"PUT", b"PUT", b"HEAD"] + [b"PUT"] * (not arrived)
        assert server.connections == 2


def test_a_connection_that_ends_as_the_store_is_asked() -> None:
    """A question is simply asked again."""

    def serve(client: Client) -> None:
        while (head := client.request()) and (client.number > 1 or not head.startswith(b"HEAD")):
            client.send(OK)

    with RawHttp(serve) as server:
        store = store_at(server.url)
        store.put(FACE)
        assert not store.has(FACE)
        assert server.connections == 2


def test_what_one_connection_came_to_is_not_tried_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a link swallows everything, the first timeout is enough."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 0.5)
    both, silent = threading.Barrier(2), threading.Event()

    def serve(client: Client) -> None:
        while client.request():
            if client.number <= 2:
                if silent.is_set():
                    continue
                both.wait(10)
            client.send(OK)

    with RawHttp(serve) as server, ThreadPoolExecutor(2) as pool:
        store = store_at(server.url)
        list(pool.map(store.put, repeat(FACE, 2)))
        silent.set()
        assert refusal(store).problem is Problem.SILENT
        store.put(FACE)
        assert server.connections == 3


def test_a_server_that_takes_no_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word, as firewalls do."""
    monkeypatch.setattr(bucket_module, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        before = time.monotonic()
        assert refusal(store_at(f"http://127.0.0.1:{full.getsockname()[1]}")).problem is Problem.SILENT
        assert time.monotonic() - before < 20


# Answers


@pytest.mark.parametrize("cut", range(len(OK)))
def test_an_answer_that_is_cut_off_counts_for_nothing(cut: int) -> None:
    """At whichever byte."""
    with RawHttp(answering(OK[:cut])) as server:
        error = refusal(store_at(server.url))
        assert error.problem is Problem.UNREACHABLE
        assert server.url in str(error)


def endless(start: bytes, more: bytes, *, pause: float = 0.0) -> Callable[[Client], None]:
    def serve(client: Client) -> None:
        client.request()
        client.send(start)
        while True:
            client.send(more)
            time.sleep(pause)

    return serve


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("serve", "problem"),
    [
        (endless(b"HTTP/1.1 500 No\r\n\r\n", bytes(65536)), Problem.FAILING),
        (endless(b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n", bytes(65536)), Problem.FAILING),
        (endless(b"HTTP/1.1 403 No\r\n" + CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n"), Problem.DENIED),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), Problem.UNREACHABLE),
        (endless(b"HTTP/1.1 200 OK\r\n", b"x" * 65536), Problem.UNREACHABLE),
        (endless(b"", b"x" * 65536), Problem.UNREACHABLE),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), Problem.SILENT),
        (endless(b"HTTP/1.1 200 OK\r\n", b"x", pause=0.02), Problem.SILENT),
        (endless(b"HTTP/1.1 500 No\r\n\r\n", b"x", pause=0.02), Problem.FAILING),
    ],
    ids=["body", "declared", "chunks", "headers", "header", "no HTTP", "100s", "slow head", "slow body"],
)
def test_an_answer_without_an_end_comes_to_an_end(
    serve: Callable[[Client], None], problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it pours or drips."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 0.5)
    with RawHttp(serve) as server:
        before = time.monotonic()
        error = refusal(store_at(server.url))
        assert error.problem is problem
        assert time.monotonic() - before < 20
        assert len(str(error)) < 300


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"Content-Length: 0", b"Content-Length: -1"),
        OK.replace(b"Content-Length: 0", b"Content-Length: +0"),
        OK.replace(b"Content-Length: 0", b"Content-Length: 0x0"),
        OK.replace(b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 1"),
        OK.replace(b"Content-Length: 0", b"Transfer-Encoding: gzip"),
        OK.replace(b"Content-Length: 0\r\n\r\n", CHUNKED + b"+1\r\nx\r\n0\r\n\r\n"),
        OK.replace(b"Content-Length: 0\r\n\r\n", CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n"),
        OK.replace(b"Content-Length: 0\r\n\r\n", CHUNKED + b"1\r\nxx\r\n0\r\n\r\n"),
        OK.replace(b"Content-Length: 0\r\n\r\n", CHUNKED + b"\r\n\r\n"),
        OK.replace(b"ETag: ", b"ETag : "),
        OK.replace(b"ETag: ", b" ETag: "),
        OK.replace(b"ETag: ", b"ETag "),
        OK.replace(b"HTTP/1.1", b"HTTP/2.0"),
        OK.replace(b"200", b"099"),
        OK.replace(b"200 OK", b"200OK"),
        OK.replace(b"HTTP/1.1 ", b""),
        b"\x16\x03\x01" + OK,
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_answer_that_can_be_read_in_two_ways_counts_for_nothing(answer: bytes) -> None:
    """And the connection is not used again."""
    with RawHttp(answering(answer, OK)) as server:
        store = store_at(server.url)
        assert refusal(store).problem is Problem.UNREACHABLE
        assert not store._server.idle


def test_a_connection_is_used_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one looks the name up again, so that a store that moved is found."""
    with RawHttp(answering(*repeat(OK, 5))) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 1
        now = time.monotonic() + 601
        monkeypatch.setattr("object_store.connections.time.monotonic", lambda: now)
        store.put(FACE)
        assert server.connections == 2


def test_a_long_answer_does_not_become_the_next_one_s() -> None:
    """Nor does what comes behind an answer."""
    long = b"HTTP/1.1 200 OK\r\nETag: 1\r\nContent-Length: 65537\r\n\r\n" + bytes(65536)
    with RawHttp(answering(long, b"." + OK, OK)) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 2
    with RawHttp(answering(OK + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", OK)) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 2


def test_an_answer_that_never_stops_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faster than it can be read: nothing is waited for, and yet it ends."""

    def serve(client: Client) -> None:
        client.request()
        while True:
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)

    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 1)
    with RawHttp(serve) as server:
        assert refusal(store_at(server.url)).problem is Problem.SILENT


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_error_in_chunks_is_understood(size: int) -> None:
    """As AWS sends them, however they are cut; nothing is waited for behind the last."""
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x; a=b\r\n%s\r\n" % (len(part), part) for part in parts)
    answers = iter((b"HTTP/1.1 400 No\r\n" + CHUNKED + chunks + b"0\r\nTrailer: 1\r\n\r\n", OK))

    def serve(client: Client) -> None:
        while client.request():
            client.send(next(answers))

    with RawHttp(serve) as server:
        store = store_at(server.url)
        before = time.monotonic()
        error = refusal(store)
        assert time.monotonic() - before < 10
        assert error.problem is Problem.FAILING
        assert "SlowDown" in str(error)
        store.put(FACE)
        assert server.connections == 1


def test_an_answer_without_content_is_not_waited_for() -> None:
    """A PUT is not answered so by a store, but by what checks whether there is an internet."""
    with RawHttp(answering(b"HTTP/1.1 204 No Content\r\n\r\n", OK)) as server:
        store = store_at(server.url)
        assert refusal(store).problem is Problem.UNREACHABLE
        store.put(FACE)
        assert server.connections == 1


def test_a_server_may_ask_for_the_body_though_it_has_it() -> None:
    """100 Continue comes before the answer."""
    with RawHttp(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK)) as server:
        store = store_at(server.url)
        store.put(FACE)
        store.put(FACE)
        assert server.connections == 1


def test_a_refusal_before_the_body_is_read_is_heard() -> None:
    """As proxies do with what is too large for them: the object is at fault, and not the connection."""

    def refuse(client: Client) -> None:
        client.head()
        client.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    large = StoredObject("unrecognized/large", bytes(8 * 1024 * 1024), "image/png", {}, None)
    with RawHttp(refuse) as server:
        assert refusal(store_at(server.url), large).problem is Problem.REFUSED
