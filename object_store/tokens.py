"""IBM Cloud's IAM: an API key is exchanged for a token that is good for an hour."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from ibm_botocore.credentials import TokenManager

from object_store.connections import Connections, in_words
from object_store.errors import Problem, StoreError

_TIMEOUT_SECONDS = 10
_TOKEN = re.compile(r"\A\s*([!-~]+)\s*\Z")
# Part of its life after which a token is replaced.
_USED_UP = 0.8
_LONGEST_LIFE = 24 * 3600
# Threads that wait for the same token share one failure.
_SHARED_SECONDS = 1.0


class Tokens(TokenManager):  # type: ignore[misc] # the SDK has no types
    """One token for all threads, for the SDK's signer `oauth`.

    The SDK's own manager tries three times by itself, hands out `None` while another thread has been asking for five
    seconds, and goes by the clock on the wall.

    Args:
        api_key: of a service credential.
        endpoint: URL where tokens are had (https://cloud.ibm.com/apidocs/iam-identity-token-api#gettoken-apikey).

    """

    def __init__(self, *, api_key: str, endpoint: str) -> None:
        self._api_key = api_key
        self._url = endpoint
        self._server = Connections(endpoint, connect_seconds=_TIMEOUT_SECONDS, read_seconds=_TIMEOUT_SECONDS)
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0
        self._failure: StoreError | None = None
        self._failed_at = 0.0

    def set_from_config(self, config: Any) -> None:
        """Nothing: it has its proxies from the environment, as the requests to the store do."""

    def get_token(self) -> str:
        """The token of now.

        Raises:
            StoreError: there is none to be had.

        """
        with self._lock:
            if self._token and time.monotonic() < self._good_until:
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
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            "connection": "close",  # for the next hour nothing is asked
        }
        try:
            answer = self._server.request("POST", urlsplit(self._url).path or "/", headers, urlencode(form).encode())
        except OSError as error:
            text = f"COS_AUTH_ENDPOINT {self._url} cannot be reached ({in_words(error)}): is it right, and is it up?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        self._server.close()
        if answer.status != 200:
            raise self._refused(answer.status)
        try:
            told = json.loads(answer.body)
            (token,) = _TOKEN.findall(told["access_token"])
            lifetime = min(float(told["expires_in"]), _LONGEST_LIFE)
        except (ValueError, LookupError, TypeError) as error:
            text = f"COS_AUTH_ENDPOINT {self._url} answers with something that is no token: is it right?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        self._token, self._good_until = token, time.monotonic() + _USED_UP * lifetime

    def _refused(self, status: int) -> StoreError:
        if status >= 500 or status == 429:
            text = f"COS_AUTH_ENDPOINT {self._url} has trouble of its own (HTTP {status})"
            return StoreError(Problem.FAILING, text)
        text = f"no token for COS_API_KEY_ID could be had (HTTP {status}): check the key and COS_AUTH_ENDPOINT"
        return StoreError(Problem.DENIED, text)
