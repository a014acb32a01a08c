"""The bucket: what is written to it, and errors that say what to do."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import quote, urlencode, urlsplit

from cloud_saver.answer import MAX_BYTES, Answer
from cloud_saver.endpoint import TROUBLE, Endpoint, KeptConnectionClosedError, in_words
from cloud_saver.iam import Tokens
from cloud_saver.keys import StoredObject
from cloud_saver.problems import Problem, StoreError
from cloud_saver.settings import StoreSettings
from cloud_saver.sigv4 import Signer

_SSE = "x-amz-server-side-encryption"
_CONNECT_SECONDS = 10
_READ_SECONDS = 30
# A list of a thousand objects whose keys are as long as they may be.
_MAX_LIST = 4 * 1024 * 1024
_WRITE = "write to"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_ERROR_CODE = re.compile(rb"<Code>\s*(\w{1,64})\s*</Code>")


class Store:
    """One bucket, to which objects are written, and nothing anywhere else. Safe to use from many threads.

    It does not retry: that is done in one place, by whoever holds the message.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._bucket = settings.cos_bucket
        self._url = settings.cos_endpoint
        self._root = f"{urlsplit(self._url).path.rstrip('/')}/{self._bucket}/"
        self._endpoint = Endpoint(self._url, connect_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS)
        self._signer: Tokens | Signer
        if settings.cos_api_key_id is not None:
            self._signer = Tokens(
                api_key=settings.cos_api_key_id.get_secret_value(), endpoint=settings.cos_auth_endpoint
            )
        else:
            assert settings.cos_hmac_access_key_id is not None
            assert settings.cos_hmac_secret_access_key is not None
            self._signer = Signer(
                settings.cos_hmac_access_key_id.get_secret_value(),
                settings.cos_hmac_secret_access_key.get_secret_value(),
                region="us-east-1",  # stores other than AWS accept any
            )

        self._encryption: dict[str, str] = {_SSE: settings.cos_sse} if settings.cos_sse else {}
        if settings.cos_sse_kms_key_id:
            self._encryption[f"{_SSE}-aws-kms-key-id"] = settings.cos_sse_kms_key_id

    def put(self, stored: StoredObject) -> None:
        """Writes one object; when it returns, the store has it.

        Raises:
            StoreError: the store did not say that it has it.

        """
        headers = {
            "content-type": stored.content_type,
            "content-md5": content_md5(stored.body),
            **self._encryption,
            **{f"x-amz-meta-{name}": value for name, value in stored.metadata.items()},
        }
        with self._explained():
            try:
                answer = self._ask("PUT", stored.key, headers, stored.body)
            except KeptConnectionClosedError:
                # A store may end idle connections at any moment, this one included; that is no reason to write twice.
                if self.has(stored):
                    return
                answer = self._ask("PUT", stored.key, headers, stored.body)
        if answer.status >= 400:
            raise self._explain(answer, doing=_WRITE)
        if answer.status != 200 or not answer.headers.get("etag"):
            # A login page of some network, say, answers 200 to anything.
            told = f"HTTP {answer.status}{'' if answer.headers.get('etag') else ', no ETag'}"
            raise self.is_no_store(told)
        # The key may be told by another name than it was asked for by.
        if self._encryption and answer.headers.get(_SSE) != self._encryption[_SSE]:
            text = f"COS_ENDPOINT {self._url} stores without the encryption that COS_SSE asks for: leave COS_SSE empty"
            raise StoreError(Problem.UNREACHABLE, f"{text}, and have the bucket encrypt by its own settings")

    def has(self, stored: StoredObject) -> bool:
        """Whether the store has this very object already; False where it cannot be told.

        Raises:
            StoreError: the store is not well.

        """
        with self._explained():
            answer = self._ask("HEAD", stored.key, {}, b"")
        if answer.status >= 500:
            raise self._explain(answer, doing="read")
        # Otherwise it is not there, or not for these credentials to see: a PUT will tell what is the matter.
        # An ETag is the MD5 of the content wherever an object was written in one piece and not encrypted with a key
        # of the customer's; elsewhere the object is written again, which does no harm.
        # So it is where encryption was asked for: whether it was done, only the answer to a PUT tells for certain.
        same = str(answer.headers.get("etag")).strip('"') == _md5(stored.body).hexdigest()
        return answer.status == 200 and same and not self._encryption

    def read(self, key: str, *, only_head: bool = False, max_bytes: int = MAX_BYTES) -> Answer | None:
        """An object, of its body `max_bytes` at most; None where there is none. Metadata are headers `x-amz-meta-…`.

        Raises:
            StoreError: it cannot be told.

        """
        method = "HEAD" if only_head else "GET"
        with self._explained():
            try:
                answer = self._ask(method, key, {}, b"", max_bytes=max_bytes)
            except KeptConnectionClosedError:
                answer = self._ask(method, key, {}, b"", max_bytes=max_bytes)
        if answer.status == 404 and b"NoSuchBucket" not in answer.body:
            return None
        if answer.status != 200:
            raise self._explain(answer, doing="read")
        return answer

    def link(self, key: str, *, seconds: int) -> str | None:
        """A URL by which anybody can read the object for so long; None with IAM's credentials, which sign no URLs."""
        if not isinstance(self._signer, Signer):
            return None
        parts = urlsplit(self._url)
        path = self._signer.presigned(self._root + quote(key), host=self._endpoint.host, seconds=seconds)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def ask(self, method: str, query: Mapping[str, str], body: bytes = b"", *, doing: str) -> bytes:
        """Asks for something that concerns the bucket, and that may be asked for twice; the answer's body.

        Args:
            method: such as `GET`.
            query: such as `{"lifecycle": ""}`.
            body: all of it.
            doing: what it does to the bucket, for the text of an error, such as `list`.

        Raises:
            StoreError: it was not done.

        """
        headers = {"content-md5": content_md5(body)} if body else {}
        with self._explained():
            try:
                answer = self._ask(method, "", headers, body, query)
            except KeptConnectionClosedError:
                answer = self._ask(method, "", headers, body, query)
        if not 200 <= answer.status < 300:
            raise self._explain(answer, doing=doing)
        return answer.body

    def is_no_store(self, why: str) -> StoreError:
        """The error for an answer that makes no sense."""
        text = f"COS_ENDPOINT {self._url} answers, but not as an object store does ({why}): is it right?"
        return StoreError(Problem.UNREACHABLE, text)

    def _ask(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        body: bytes,
        query: Mapping[str, str] = _NOTHING,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> Answer:
        path = self._root + quote(key)
        if query:
            path += "?" + urlencode(sorted(query.items()), quote_via=quote, safe="")
        headers = self._signer.signed(method, path, {"host": self._endpoint.host, **headers}, body)
        return self._endpoint.request(method, path, headers, body, max_bytes=_MAX_LIST if query else max_bytes)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise StoreError(Problem.SILENT, f"COS_ENDPOINT {self._url} does not answer in time") from error
        except ssl.SSLCertVerificationError as error:
            text = (
                f"COS_ENDPOINT {self._url} shows a certificate that is not to be trusted ({error.verify_message}):"
                " is it right? AWS_CA_BUNDLE may name a PEM file with its CA"
            )
            raise StoreError(Problem.UNREACHABLE, text) from error
        except TROUBLE as error:
            text = f"COS_ENDPOINT {self._url} cannot be used ({in_words(error)}): is it right, and is it up?"
            raise StoreError(Problem.UNREACHABLE, text) from error

    def _explain(self, answer: Answer, *, doing: str) -> StoreError:
        found = _ERROR_CODE.search(answer.body)
        code = found[1].decode("ascii", "replace") if found else ""
        status, told = answer.status, f"HTTP {answer.status} {code}".strip()
        if code == "NoSuchBucket" or (status == 404 and code in ("", "NotFound", "NoSuchKey")):
            text = f"COS_BUCKET {self._bucket} does not exist at {self._url} ({told}): create it, or name another"
            return StoreError(Problem.NO_BUCKET, text, code=code)
        if status in (401, 403):
            # The clock is part of every signature.
            remedy = "check them, their rights and this machine's clock"
            text = f"the credentials may not {doing} COS_BUCKET {self._bucket} ({told}): {remedy}"
            return StoreError(Problem.DENIED, text, code=code)
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
            return StoreError(Problem.FAILING, f"COS_ENDPOINT {self._url} has trouble of its own ({told})")
        what = "the object" if doing == _WRITE else f"to {doing} COS_BUCKET {self._bucket}"
        return StoreError(Problem.REFUSED, f"COS_ENDPOINT {self._url} refuses {what} ({told})", code=code)


def content_md5(body: bytes) -> str:
    """The header of that name."""
    return base64.b64encode(_md5(body).digest()).decode()


def _md5(body: bytes) -> hashlib._Hash:
    return hashlib.md5(body, usedforsecurity=False)
