"""IBM Cloud's tokens: each PUT carries one, and whatever goes wrong with them is told."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from object_store import tokens
from object_store.errors import Problem, StoreError
from object_store.readable import ReadableBucket
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.raw_http import RawHttp, answering
from tests.support.stores import FACE, iam_store, refusal
from tests.support.waiting import eventually


def token(_request: Request) -> Answer:
    answer = {
        "access_token": "the-token",
        "refresh_token": "not-supported",
        "token_type": "Bearer",
        "expires_in": 3600,
        "expiration": int(time.time()) + 3600,
    }
    return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def test_iam_exchanges_the_api_key_for_a_token() -> None:
    """Once, and each PUT carries it."""
    with FakeHttp(token) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        store.put(FACE)
        (asked,) = auth.requests
        assert asked.path == "/identity/token"
        assert asked.headers["connection"] == "close", "the next token is wanted in an hour"
        assert b"apikey=hush-api-key" in asked.body
        assert [r.headers["authorization"] for r in cos.requests] == ["Bearer the-token"] * 2
        assert [hashlib.sha256(r.body).digest() for r in cos.requests] == [hashlib.sha256(FACE.body).digest()] * 2
        assert cos.requests[0].path == f"/faces/{FACE.key}"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"errorCode":"BXNIM0415E","errorMessage":"Provided API key could not be found."}'),
        Answer(401, b"no"),
    ],
    ids=["unknown key", "refused"],
)
def test_a_token_that_is_refused_is_told(answer: Answer) -> None:
    """With the variables to check; nothing is sent to the store."""
    with FakeHttp(lambda _request: answer) as auth, FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, auth.url))
        assert error.problem is Problem.DENIED
        assert "COS_API_KEY_ID" in str(error)
        assert "COS_AUTH_ENDPOINT" in str(error)
        assert cos.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>Welcome to our hotel's network</html>"),
        Answer(200, b"{}"),
        Answer(200, b"[]"),
        Answer(200, b"\xff\xfe"),
        Answer(200, b'{"access_token": null, "expires_in": 3600}'),
        Answer(200, b'{"access_token": "a\\r\\nb: c", "expires_in": 3600}'),
        Answer(200, b'{"access_token": "a", "expires_in": "long"}'),
    ],
    ids=["html", "empty", "list", "no text", "null", "two headers", "no time"],
)
def test_an_answer_that_is_no_token_is_told(answer: Answer) -> None:
    """It must not end a worker."""
    with FakeHttp(lambda _request: answer) as auth, FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, auth.url))
        assert "COS_AUTH_ENDPOINT" in str(error)
        assert cos.requests == []


def test_a_token_server_that_is_not_there_is_told() -> None:
    """And not taken for the store."""
    with FakeHttp(stored) as cos:
        error = refusal(iam_store(cos.url, "http://127.0.0.1:9"))
        assert error.problem is Problem.UNREACHABLE
        assert "COS_AUTH_ENDPOINT" in str(error)


def test_threads_that_ask_for_the_first_token_together_all_get_it() -> None:
    """Or an error, and never a PUT without one."""
    with FakeHttp(token) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: store.put(FACE), range(64)))
        assert {r.headers["authorization"] for r in cos.requests} == {"Bearer the-token"}


def lasting(seconds: float, token: str = "the-token") -> Answer:
    return Answer(200, json.dumps({"access_token": token, "expires_in": seconds}).encode())


@pytest.mark.parametrize("seconds", [3600, 1200, 1e999])
def test_a_token_is_replaced_before_its_end(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After four fifths of its life, of which it has a day at most."""
    now = time.monotonic()
    monkeypatch.setattr("object_store.tokens.time.monotonic", lambda: now)
    with FakeHttp(lambda _request: lasting(seconds, f"token-{len(auth.requests)}")) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        for part, number in ((0.0, 1), (0.79, 1), (0.02, 2), (0.75, 2), (0.06, 3)):
            now += part * min(seconds, 24 * 3600)
            store.put(FACE)
            assert cos.requests[-1].headers["authorization"] == f"Bearer token-{number}"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_token_that_is_good_for_no_time_is_asked_for_each_time(seconds: float) -> None:
    """No loop comes of it."""
    with FakeHttp(lambda _request: lasting(seconds)) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        store.put(FACE)
        assert len(auth.requests) == 2


def test_a_failure_is_shared_for_a_moment_and_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that all wait for a token do not each ask in vain; when the server is well again, all goes on."""
    with FakeHttp(lambda _request: Answer(503)) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        assert {refusal(store).problem for _ in range(5)} == {Problem.FAILING}
        assert len(auth.requests) == 1
        auth.answer = token
        monkeypatch.setattr(tokens, "_SHARED_SECONDS", 0.0)
        store.put(FACE)


def test_a_token_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, in which nothing goes to the store."""
    monkeypatch.setattr(tokens, "_TIMEOUT_SECONDS", 0.3)
    with RawHttp(answering()) as auth, FakeHttp(stored) as cos:
        silent = socket.create_server(("127.0.0.1", 0))
        with silent:
            store = iam_store(cos.url, f"http://127.0.0.1:{silent.getsockname()[1]}")
            assert refusal(store).problem is Problem.UNREACHABLE
        assert refusal(iam_store(cos.url, auth.url)).problem is Problem.UNREACHABLE
        assert cos.requests == []


def numbered(auth: FakeHttp) -> Answer:
    """A new token each time."""
    return lasting(3600, f"token-{len(auth.requests)}")


def taking(good: set[str], refused: Answer) -> Callable[[Request], Answer]:
    """A store that takes these tokens."""

    def answer(request: Request) -> Answer:
        return stored(request) if request.headers["authorization"].removeprefix("Bearer ") in good else refused

    return answer


REFUSED = [
    Answer(401, b"<Error><Code>InvalidToken</Code></Error>"),
    Answer(403, b"<Error><Code>AccessDenied</Code></Error>"),
    Answer(403),
    Answer(400, b"<Error><Code>ExpiredToken</Code></Error>"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=["401", "403", "no body", "400"])
def test_a_token_that_the_store_refuses_before_its_time_is_replaced(
    refused: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and for every kind of request; then all goes on with the new one."""
    monkeypatch.setattr(tokens, "_JUDGED_SECONDS", 0.0)  # each is a matter of its own
    with FakeHttp(lambda _request: numbered(auth)) as auth, FakeHttp(taking({"token-1"}, refused)) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        asked: list[Callable[[], object]] = [lambda: store.put(FACE), lambda: store.read(FACE.key)]
        if refused.status != 400:  # to a HEAD it would not tell why
            asked.append(lambda: store.has(FACE))
        for number, ask in enumerate(asked, start=2):
            cos.answer = taking({f"token-{number}"}, refused)
            ask()
            assert len(auth.requests) == number


def test_all_threads_together_ask_for_one_new_token() -> None:
    """However many are refused at the same time."""
    with FakeHttp(lambda _request: numbered(auth)) as auth, FakeHttp(taking({"token-1"}, REFUSED[0])) as cos:
        store = iam_store(cos.url, auth.url)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(store.put, [FACE] * 32))
            cos.answer = taking({"token-2"}, REFUSED[0])
            list(pool.map(store.put, [FACE] * 64))
        assert len(auth.requests) == 2


@pytest.mark.parametrize("refused", REFUSED, ids=["401", "403", "no body", "400"])
def test_a_store_that_refuses_the_new_token_too_is_believed(refused: Answer) -> None:
    """It is the rights then: no token is asked for with each try."""
    with FakeHttp(lambda _request: numbered(auth)) as auth, FakeHttp(lambda _request: refused) as cos:
        store = iam_store(cos.url, auth.url)
        for _ in range(5):
            error = refusal(store)
            assert error.problem is Problem.DENIED
            assert "check them, their rights" in str(error)
        assert len(auth.requests) == 2
        assert len([r for r in cos.requests if r.method == "PUT"]) == 6


def test_a_refused_token_that_cannot_be_replaced_is_told() -> None:
    """The token's server is to blame then; when it is well again, all goes on."""
    with FakeHttp(lambda _request: numbered(auth)) as auth, FakeHttp(taking({"token-1"}, REFUSED[0])) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        cos.answer = taking({"token-3"}, REFUSED[0])
        auth.answer = lambda _request: Answer(503)
        assert refusal(store).problem is Problem.FAILING
        auth.answer = lambda _request: numbered(auth)
        eventually(lambda: puts(store))


def puts(store: ReadableBucket) -> bool:
    try:
        store.put(FACE)
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_a_token_ends_by_whichever_clock_is_first(clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic one stands still while a machine is suspended, and the other one can be set back."""
    with FakeHttp(lambda _request: numbered(auth)) as auth, FakeHttp(stored) as cos:
        store = iam_store(cos.url, auth.url)
        store.put(FACE)
        now = getattr(time, clock)() + 3000
        monkeypatch.setattr(f"object_store.tokens.time.{clock}", lambda: now)
        store.put(FACE)
        assert [r.headers["authorization"] for r in cos.requests] == ["Bearer token-1", "Bearer token-2"]
