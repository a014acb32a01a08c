"""IBM Cloud's tokens: each PUT carries one, and whatever goes wrong with them is told."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_saver.problems import Problem
from tests.support.fake_http import Answer, FakeHttp, Request, stored
from tests.support.stores import FACE, iam_store, refusal


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
