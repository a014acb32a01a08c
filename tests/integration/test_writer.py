"""The saver writes over open connections, in one thread. Whatever becomes of a write, its face is stored once."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from cloud_saver.saver import Saver
from face_messages import FaceEvent, Taken, new_id
from face_messages.message import TOPIC
from face_messages.mqtt.client import Link
from object_store import bucket as bucket_module
from object_store.bucket import Bucket
from object_store.errors import Problem, StoreError
from object_store.keys import StoredObject
from tests.support.certificates import Authority
from tests.support.raw_http import OK, Client, RawHttp
from tests.support.stores import store_at
from tests.support.waiting import eventually

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
MD5_OF_FACE = hashlib.md5(b"face", usedforsecurity=False).hexdigest().encode()
FAILING = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


class Store:
    """Answers each PUT of a face as `put` does, anything else but a HEAD with 200."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.put: Callable[[Client], bytes] = lambda _client: OK
        self.head = NOT_FOUND

    def serve(self, client: Client) -> None:
        while head := client.request():
            method = head.split(b" ", 1)[0].decode()
            self.asked.append(method)
            client.send(self.put(client) if method == "PUT" else self.head if method == "HEAD" else OK)


@pytest.fixture
def store() -> Store:
    return Store()


@contextmanager
def warm_saver(
    store: Store, *, workers: int = 1, certificate: ssl.SSLContext | None = None
) -> Iterator[tuple[Saver, Bucket]]:
    """It has stored a face for each of its workers, over a connection each, which are kept."""
    with RawHttp(store.serve, certificate=certificate) as server:
        bucket = store_at(server.url)
        saver = Saver(bucket, workers=workers)
        together = threading.Barrier(workers)

        def answer(_client: Client) -> bytes:
            together.wait(60)
            return OK

        store.put = answer
        wait(*[take(saver) for _ in range(workers)])
        eventually(lambda: len(bucket._server.idle) == workers)
        store.put = lambda _client: OK
        store.asked.clear()
        yield saver, bucket


def take(saver: Saver, body: bytes = b"face", *, age: float = 0.0) -> threading.Event:
    """Hands a face over that was captured so many seconds ago; tells when it is safe."""
    safe = threading.Event()
    captured_at = datetime.now(UTC) - timedelta(seconds=age)
    message = FaceEvent(new_id(), "tx2", "door", captured_at, frame=1).to_message(TOPIC, body)
    saver.take(Taken(message, cast("Link", None), None, lambda _taken, _refused: safe.set()))
    return safe


def wait(*safe: threading.Event) -> None:
    assert all(each.wait(60) for each in safe)


def never(stored: StoredObject) -> None:
    raise AssertionError(f"{stored.key} is written by a thread of its own")


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_no_thread_waits_for_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    certificate = None
    if encrypted:
        authority = Authority(tmp_path)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.cert))
        pair = authority.issue("store", host="127.0.0.1")
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.load_cert_chain(pair.cert, pair.key)
    with warm_saver(store, certificate=certificate) as (saver, bucket):
        monkeypatch.setattr(bucket, "put", never)
        wait(*[take(saver, bytes([n]) * 3_000_000) for n in range(5)])
    assert store.asked == ["PUT"] * 5


def test_a_face_of_before_the_start_is_looked_for_first(store: Store) -> None:
    """Another saver, or this one before its restart, may have written it."""
    with warm_saver(store) as (saver, _):
        wait(take(saver, age=3600))
    assert store.asked == ["HEAD", "PUT"]


def test_as_many_are_written_at_a_time_as_there_are_workers(store: Store) -> None:
    with warm_saver(store, workers=3) as (saver, _):
        lock, gate = threading.Lock(), threading.Event()
        at_once, most = 0, 0

        def put(_client: Client) -> bytes:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            gate.wait(60)
            with lock:
                at_once -= 1
            return OK

        store.put = put
        safe = [take(saver) for _ in range(12)]
        eventually(lambda: at_once == 3)
        gate.set()
        wait(*safe)
        assert most == 3


@pytest.mark.parametrize("arrived", [False, True], ids=["it had not arrived", "it had"])
def test_a_connection_that_ends_instead_of_an_answer(store: Store, arrived: bool) -> None:
    """The store is asked, and the face is not written twice; that is no failure of the store."""
    with warm_saver(store) as (saver, _):

        def put(client: Client) -> bytes:
            store.put = lambda _client: OK
            raise OSError(f"connection {client.number} ends")

        store.put = put
        if arrived:
            store.head = b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 4\r\n\r\n' % MD5_OF_FACE
        wait(take(saver, b"face"))
        assert store.asked == (["PUT", "HEAD"] if arrived else ["PUT", "HEAD", "PUT"])
        assert saver.failed == 0
        assert saver.trouble is None


def test_a_failure_counts_once_and_is_trouble_until_the_store_works(store: Store) -> None:
    with warm_saver(store) as (saver, _):
        troubles: list[object] = []

        def put(_client: Client) -> bytes:
            troubles.append(saver.trouble)
            return FAILING if len(troubles) < 3 else OK

        store.put = put
        wait(take(saver))
        assert store.asked == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]
        assert saver.failed == 2
        assert [trouble is None for trouble in troubles] == [True, True, False]  # one failure alone is none
        assert saver.trouble is None


def test_a_store_in_trouble_is_left_to_the_workers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_saver(store, workers=2) as (saver, bucket):
        store.put = lambda _client: FAILING
        first = take(saver)
        eventually(lambda: saver.trouble)
        began: list[StoredObject] = []
        monkeypatch.setattr(bucket, "start_put", began.append)
        second = take(saver)
        eventually(lambda: saver.failed >= 3)
        assert not began
        store.put = lambda _client: OK
        wait(first, second)


def test_nothing_is_safe_before_the_place_was_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor over a connection that is open by then."""
    with RawHttp(store.serve) as server:
        bucket = store_at(server.url)
        looks, began = threading.Semaphore(0), list[StoredObject]()

        def look(key: str) -> None:
            del key
            if not looks.acquire(blocking=False):
                raise StoreError(Problem.FAILING, "not yet")

        monkeypatch.setattr(bucket, "check_place", look)
        monkeypatch.setattr(bucket, "start_put", began.append)
        saver = Saver(bucket, workers=2)
        monkeypatch.setattr(saver._state, "fails", lambda *_: None)  # as where each failure stands alone
        first = take(saver)
        eventually(lambda: saver.failed >= 1)
        eventually(lambda: bucket._server.idle)
        second = take(saver)
        eventually(lambda: saver.failed >= 3)
        assert not began
        assert not first.is_set()
        assert not second.is_set()
        looks.release()
        wait(first, second)


def test_an_answer_that_does_not_come(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are written meanwhile."""
    monkeypatch.setattr(bucket_module, "_READ_SECONDS", 4)
    with warm_saver(store, workers=2) as (saver, _):
        silent, over = threading.Event(), threading.Event()

        def put(_client: Client) -> bytes:
            store.put = lambda _client: OK
            silent.set()
            over.wait(60)
            return OK

        store.put = put
        first = take(saver)
        assert silent.wait(60)
        wait(take(saver))
        assert not first.is_set()
        wait(first)
        over.set()
        assert saver.failed == 1


def test_an_answer_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_saver(store) as (saver, bucket):
        monkeypatch.setattr(bucket, "put", never)

        def put(client: Client) -> bytes:
            answer = OK.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
            for byte in answer[:-1]:
                client.send(bytes([byte]))
            return answer[-1:]

        store.put = put
        wait(take(saver), take(saver))
        assert len(bucket._server.idle) == 1
