"""The bucket: what is written to it, and whether it is there.

`ibm-cos-sdk` is its client. The saver's requests for each object, to write it and to look for it, are signed by the
SDK's signer and sent without the SDK's client, at a third of the cost.
"""

import logging
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from object_store.answers import MAX_BYTES, Answer
from object_store.client import Client
from object_store.connection import Connection
from object_store.connections import Connections
from object_store.errors import AskAgainError, Errors, Problem, StoreError
from object_store.keys import StoredObject
from object_store.settings import BucketSettings, StoreSettings
from object_store.signing import HmacKeys, Request
from object_store.tokens import Tokens

# It would tell of signatures and tokens.
logging.getLogger("ibm_botocore").setLevel(logging.ERROR)

log = logging.getLogger(__name__)

_NAME = re.compile(rb"<Name>([\w.-]{1,64})</Name>")
_SSE = "x-amz-server-side-encryption"
_CONNECT_SECONDS = 10
_READ_SECONDS = 30
# Answers that may mean that a request was signed for another region, or with a token that is no longer good.
_OF_SIGNATURES = (301, 307, 400, 401, 403)
_SIGNATURES = 4
# Some stores list an object a moment after they have it. In seconds.
_LOOKS, _BETWEEN_LOOKS = 4, 0.5


class Put(NamedTuple):
    """A write on its way. When `connection` is ready for its `events`, or its `deadline` is over, call `proceed`.

    `proceed` never waits. It returns whether the store has said that it has the object, and raises StoreError where it
    never will; AskAgainError: it may have it.
    """

    connection: Connection
    proceed: Callable[[], bool]


class Bucket:
    """One bucket, and nothing anywhere else. Safe to use from many threads.

    It does not retry: whoever holds the message does that, in one place.
    """

    def __init__(self, settings: BucketSettings) -> None:
        self._settings = settings
        base = self._base(settings.cos_endpoint)
        self._path = urlsplit(base).path
        self._server = Connections(base, connect_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS)
        self._errors = Errors(settings.cos_bucket, settings.cos_endpoint)
        self._credentials = _credentials(settings)
        self._client = Client(settings.cos_bucket, self._ask, self._errors)
        #: Makes the error for an answer that makes no sense.
        self.is_no_store = self._errors.is_no_store
        self._encryption: dict[str, str] = {}
        if isinstance(settings, StoreSettings) and settings.cos_sse:
            self._encryption = {_SSE: settings.cos_sse}
            if settings.cos_sse_kms_key_id:
                self._encryption[f"{_SSE}-aws-kms-key-id"] = settings.cos_sse_kms_key_id
        self._answered = False

    def put(self, stored: StoredObject) -> None:
        """Writes one object. Raises StoreError if the store does not say that it has it."""
        headers, target = self._headers(stored), "/" + quote(stored.key)
        try:
            answer = self._ask_once("PUT", target, headers, stored.body)
        except AskAgainError:
            if self.has(stored):  # it is not written twice
                return
            answer = self._ask_once("PUT", target, headers, stored.body)
        self._check_written(answer)

    def start_put(self, stored: StoredObject) -> Put | None:
        """Begins to write one object; None where that would have to wait, for a connection or a token.

        Raises StoreError if it cannot be asked for.
        """
        if not (self._server.idle and self._credentials.is_ready):
            return None
        path = f"{self._path}/{quote(stored.key)}"
        request = self._signed("PUT", path, self._headers(stored), stored.body)
        try:
            connection = self._server.start("PUT", path, request.headers, stored.body)
        except OSError as error:
            raise self._errors.of_trouble(error) from error
        return None if connection is None else Put(connection, partial(self._proceed, request, connection))

    def _proceed(self, request: Request, connection: Connection) -> bool:
        try:
            answer = self._server.proceed(connection)
        except OSError as error:
            raise self._errors.of_trouble(error) from error
        if answer is None:
            return False
        if answer.status in _OF_SIGNATURES and self._credentials.learn(request, answer):
            raise AskAgainError(Problem.DENIED, "the request is to be signed anew")
        self._check_written(answer)
        return True

    def _headers(self, stored: StoredObject) -> dict[str, str]:
        headers = {
            "content-type": stored.content_type,
            "content-md5": b64encode(stored.md5).decode(),
            **self._encryption,
            **{f"x-amz-meta-{name}": value for name, value in stored.metadata.items()},
        }
        if not (text := "".join([*headers, *headers.values()])).isascii() or not text.isprintable():
            raise StoreError(Problem.REFUSED, f"{stored.key[:200]!r} has metadata that would be another header")
        return headers

    def _check_written(self, answer: Answer) -> None:
        if answer.status >= 300:
            raise self._errors.of_answer(answer, doing="write to")
        if answer.status != 200 or not answer.headers.get("etag"):
            # The login page of a network, say, answers 200 to anything.
            told = f"HTTP {answer.status}{'' if answer.headers.get('etag') else ', no ETag'}"
            raise self._errors.is_no_store(told)
        # The key may be told by another name than it was asked for by.
        if self._encryption and answer.headers.get(_SSE) != self._encryption[_SSE]:
            text = f"COS_ENDPOINT {self._settings.cos_endpoint} stores without the encryption that COS_SSE asks for"
            remedy = "leave COS_SSE empty, and have the bucket encrypt by its own settings"
            raise StoreError(Problem.UNREACHABLE, f"{text}: {remedy}")

    def has(self, stored: StoredObject) -> bool:
        """Whether the store surely has this very object. Raises StoreError if the store is not well."""
        answer = self._ask("HEAD", "/" + quote(stored.key), {})
        if answer.status >= 500:
            raise self._errors.of_answer(answer, doing="read")
        # Any other refusal: it is not there, or these credentials may not see it. A PUT will tell the cause.
        # An ETag is the MD5 of the content wherever an object was written in one piece and not encrypted with a key
        # of the customer's. Elsewhere the object is written again, which does no harm.
        # With COS_SSE too: only the answer to a PUT tells for certain that the store has encrypted the object.
        same = str(answer.headers.get("etag")).strip('"') == stored.md5.hex()
        return answer.status == 200 and same and not self._encryption

    def check_place(self, key: str) -> None:
        """Looks for an object that was just written where others will look.

        Raises StoreError if it lies elsewhere, as where the endpoint already holds the bucket.
        """
        # Asked without the SDK's client, which the saver need not load for it.
        target = f"?list-type=2&max-keys=1&prefix={quote(key, safe='')}"
        for _ in range(_LOOKS):
            answer = self._ask("GET", target, {})
            if answer.status == 404 and b"NoSuchKey" in answer.body:  # the list was taken for an object in the bucket
                raise self._errors.of_answer(answer, doing="list")
            if answer.status != 200 or b"ListBucketResult" not in answer.body:
                return  # it cannot be told
            name = found[1].decode() if (found := _NAME.search(answer.body)) else self._settings.cos_bucket
            if name != self._settings.cos_bucket:
                raise self._errors.holds_the_bucket(f"it lists {name!r}")
            if f"<Key>{key}</Key>".encode() in answer.body:
                return
            time.sleep(_BETWEEN_LOOKS)
        log.warning("%s is stored, but the store does not list it: is COS_ENDPOINT right?", key)

    def ask(self, operation: str, **what: Any) -> dict[str, Any]:
        """Asks the SDK's client for something that concerns the bucket; see `Client.ask`."""
        return self._client.ask(operation, **what)

    def _base(self, endpoint: str) -> str:
        """The URL of the bucket, without a slash at the end."""
        scheme, netloc, path, _, _ = urlsplit(endpoint)
        if self._settings.cos_addressing == "virtual":
            return f"{scheme}://{self._settings.cos_bucket}.{netloc}{path.rstrip('/')}"
        return f"{scheme}://{netloc}{path.rstrip('/')}/{self._settings.cos_bucket}"

    def _ask(self, *request: Any, **options: Any) -> Answer:
        """As `_ask_once`, for what may be done twice."""
        try:
            return self._ask_once(*request, **options)
        except AskAgainError:
            return self._ask_once(*request, **options)

    def _ask_once(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, max_bytes: int = MAX_BYTES
    ) -> Answer:
        """Signs a request and sends it. `target` follows the bucket in the URL, percent-encoded, with the query."""
        is_root = self._settings.cos_addressing == "virtual" and not target.startswith("/")
        path = f"{self._path}/{target}" if is_root else self._path + target
        for attempt in range(_SIGNATURES):
            request = self._signed(method, path, headers, body)
            try:
                answer = self._server.request(method, path, request.headers, body, max_bytes=max_bytes)
            except OSError as error:
                raise self._errors.of_trouble(error) from error
            self._answered |= answer.status < 300
            if not (attempt or answer.status in _OF_SIGNATURES) or not self._credentials.learn(request, answer):
                break
        return answer

    def _signed(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Request:
        request = Request(method, self._server.origin + path, {"host": self._server.host, **headers}, body)
        self._credentials.sign(request)
        return request


def _credentials(settings: BucketSettings) -> HmacKeys | Tokens:
    if settings.cos_api_key_id is not None:
        return Tokens(api_key=settings.cos_api_key_id.get_secret_value(), endpoint=settings.cos_auth_endpoint)
    assert settings.cos_hmac_access_key_id is not None
    assert settings.cos_hmac_secret_access_key is not None
    pair = (settings.cos_hmac_access_key_id, settings.cos_hmac_secret_access_key)
    return HmacKeys(*(each.get_secret_value() for each in pair), region=settings.cos_region)
