"""IBM Cloud's IAM: an API key is exchanged for a token that is good for an hour."""

import json
import re
import threading
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from ibm_botocore.auth import OAuth2
from ibm_botocore.credentials import OAuth2Credentials, TokenManager

from object_store.answers import Answer
from object_store.connections import Connections, in_words
from object_store.errors import Problem, StoreError
from object_store.signing import Request

_TIMEOUT_SECONDS = 10
_TOKEN = re.compile(r"\A\s*([!-~]+)\s*\Z")
# Part of its life after which a token is replaced.
_USED_UP = 0.8
_LONGEST_LIFE = 24 * 3600
# Threads that wait for the same token share one failure.
_SHARED_SECONDS = 1.0
# If the store refuses a new token too, the rights are missing. It gets no other token for so many seconds.
_JUDGED_SECONDS = 60.0


class Tokens(TokenManager):  # type: ignore[misc] # the SDK has no types
    """One token for all threads, from https://cloud.ibm.com/apidocs/iam-identity-token-api#gettoken-apikey.

    The SDK's own manager tries three times by itself, returns `None` while another thread has been asking for five
    seconds, and trusts the wall clock.
    """

    def __init__(self, *, api_key: str, endpoint: str) -> None:
        self._api_key = api_key
        self._url = endpoint
        self._server = Connections(endpoint, connect_seconds=_TIMEOUT_SECONDS, read_seconds=_TIMEOUT_SECONDS)
        self._credentials = OAuth2Credentials(token_manager=self)
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = (0.0, 0.0)
        self._failure: StoreError | None = None
        self._failed_at = 0.0
        self._replaced_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether `sign` does not wait for anything."""
        # Either clock may be wrong: one stands still while the machine is suspended, the other can be set.
        return bool(self._token) and all(now < until for now, until in zip(_clocks(), self._good_until, strict=True))

    def sign(self, request: Request) -> None:
        """Raises StoreError if there is no token."""
        OAuth2(self._credentials.get_frozen_credentials()).add_auth(request)

    def learn(self, request: Request, answer: Answer) -> bool:
        """Whether there is another token than the one that the store refused; the first thread drops it, for all."""
        if answer.status not in (401, 403) and b"Token" not in answer.body:
            return False
        with self._lock:
            if request.headers["Authorization"] != f"Bearer {self._token}":
                return True
            now = time.monotonic()
            if self._replaced_at is not None and now - self._replaced_at < _JUDGED_SECONDS:
                return False
            self._token, self._replaced_at = "", now
        return True

    def link(self, url: str, *, seconds: int) -> None:
        """IAM signs no URLs."""

    def get_token(self) -> str:
        """The token of now. Raises StoreError if there is none."""
        with self._lock:
            if self.is_ready:
                return self._token
            if self._failure is not None and time.monotonic() - self._failed_at < _SHARED_SECONDS:
                raise self._failure
            self._failure = None
            try:
                self._fetch()
            except StoreError as error:
                self._failure, self._failed_at = error, time.monotonic()
                raise
            return self._token

    def _fetch(self) -> None:
        form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": self._api_key}
        headers = {
            "host": self._server.host,
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            "connection": "close",  # the next request is an hour away
        }
        where = f"COS_AUTH_ENDPOINT {self._url}"
        try:
            answer = self._server.request("POST", urlsplit(self._url).path or "/", headers, urlencode(form).encode())
        except OSError as error:
            text = f"{where} cannot be reached ({in_words(error)}): is it right, and is it up?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        self._server.close()
        if answer.status >= 500 or answer.status == 429:
            raise StoreError(Problem.FAILING, f"{where} has trouble of its own (HTTP {answer.status})")
        if answer.status != 200:
            text = f"no token for COS_API_KEY_ID could be had (HTTP {answer.status})"
            raise StoreError(Problem.DENIED, f"{text}: check the key and COS_AUTH_ENDPOINT")
        try:
            told: dict[str, Any] = json.loads(answer.body)
            (token,) = _TOKEN.findall(told["access_token"])
            seconds = _USED_UP * min(float(told["expires_in"]), _LONGEST_LIFE)
        except (ValueError, LookupError, TypeError) as error:
            text = f"{where} answers with something that is no token: is it right?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        monotonic, wall = _clocks()
        self._token, self._good_until = token, (monotonic + seconds, wall + seconds)


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.time()
