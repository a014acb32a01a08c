"""IBM Cloud's IAM: an API key is exchanged for a token that is good for an hour."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from ibm_botocore.credentials import TokenManager

from cloud_saver.problems import Problem, StoreError

_TIMEOUT_SECONDS = 10
# Part of its life after which a token is replaced.
_USED_UP = 0.8
# Threads that wait for the same token share one failure.
_SHARED_SECONDS = 1.0


class Tokens(TokenManager):  # type: ignore[misc] # the SDK has no types
    """One token for all threads.

    The SDK's own manager retries by itself, logs a traceback each time, and lets threads that wait for another's
    attempt send a PUT without a token.

    Args:
        api_key: of a service credential.
        endpoint: URL where tokens are had (https://cloud.ibm.com/apidocs/iam-identity-token-api#gettoken-apikey).

    """

    def __init__(self, *, api_key: str, endpoint: str) -> None:
        self._api_key = api_key
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0
        self._failure: StoreError | None = None
        self._failed_at = 0.0

    def get_token(self) -> str:
        """Called by the SDK as it signs.

        Raises:
            StoreError: there is no token to be had.

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

    def set_from_config(self, config: object) -> None:
        """Wanted by the SDK; proxies are taken from the environment."""

    def _fetch(self) -> None:
        form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": self._api_key}
        request = urllib.request.Request(  # noqa: S310 - the settings let http and https through only
            self._endpoint, urllib.parse.urlencode(form).encode(), {"Accept": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                body = answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error.code) from None
        except OSError as error:
            text = f"COS_AUTH_ENDPOINT {self._endpoint} cannot be reached ({error}): is it right, and is it up?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        try:
            told = json.loads(body)
            token, lifetime = told["access_token"].strip(), float(told["expires_in"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            text = f"COS_AUTH_ENDPOINT {self._endpoint} answers with something that is no token: is it right?"
            raise StoreError(Problem.UNREACHABLE, text) from error
        self._token, self._good_until = token, time.monotonic() + _USED_UP * lifetime

    def _refused(self, status: int) -> StoreError:
        if status >= 500 or status == 429:
            text = f"COS_AUTH_ENDPOINT {self._endpoint} has trouble of its own (HTTP {status})"
            return StoreError(Problem.FAILING, text)
        text = f"no token for COS_API_KEY_ID could be had (HTTP {status}): check the key and COS_AUTH_ENDPOINT"
        return StoreError(Problem.DENIED, text)
