"""The bucket: what is written to it and read from it.

`ibm-cos-sdk` is its client. What the saver does with each object, to write it and to look for it, is signed by the
SDK and sent without its client, at half the cost; everything else is asked of the client.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ibm_botocore.auth import OAuth2
from ibm_botocore.credentials import Credentials, OAuth2Credentials

from face_messages.message import MAX_MESSAGE_BYTES
from object_store.client import Client, NoObjectError
from object_store.connections import MAX_BYTES, Answer, Connections
from object_store.errors import ClosedMeanwhileError, Errors, Problem, StoreError
from object_store.keys import StoredObject
from object_store.settings import StoreSettings
from object_store.signing import Request, Signer, content_md5
from object_store.tokens import Tokens

# What they would tell of requests is signatures and tokens.
for _name in ("ibm_botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)

#: Storage classes whose objects must be restored before they can be read.
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE", "ACCELERATED")

_SSE = "x-amz-server-side-encryption"
_CONNECT_SECONDS = 10
_READ_SECONDS = 30
_REGION = "us-east-1"  # stores other than AWS accept any


class ReadObject(NamedTuple):
    """An object as it was read. `body` is empty where only its head was asked for.

    `archived` tells that a GET would raise ObjectArchivedError, and a link to it would not work.
    """

    body: bytes
    bytes: int
    metadata: dict[str, str]
    storage_class: str = ""
    archived: bool = False


class Bucket:
    """One bucket, and nothing anywhere else. Safe to use from many threads.

    It does not retry: that is done in one place, by whoever holds the message.
    """

    def __init__(self, settings: StoreSettings) -> None:
        name, self._url = settings.cos_bucket, settings.cos_endpoint
        self._root = f"{urlsplit(self._url).path.rstrip('/')}/{name}/"
        self._server = Connections(self._url, connect_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS)
        self._errors = Errors(name, self._url)
        self._tokens: Tokens | None = None
        options: dict[str, Any] = {"endpoint_url": self._url, "region_name": _REGION}
        if settings.cos_api_key_id is not None:
            key = settings.cos_api_key_id.get_secret_value()
            self._tokens = Tokens(api_key=key, endpoint=settings.cos_auth_endpoint)
            self._credentials: Any = OAuth2Credentials(token_manager=self._tokens)
            options["token_manager"] = self._tokens
        else:
            assert settings.cos_hmac_access_key_id is not None
            assert settings.cos_hmac_secret_access_key is not None
            pair = (settings.cos_hmac_access_key_id, settings.cos_hmac_secret_access_key)
            self._credentials = Credentials(*(each.get_secret_value() for each in pair))
            options["aws_access_key_id"] = self._credentials.access_key
            options["aws_secret_access_key"] = self._credentials.secret_key
        self._client = Client(
            bucket=name,
            host=self._server.host,
            send=self._send,
            errors=self._errors,
            signature="oauth" if self._tokens else "s3v4",
            options=options,
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
        if not (text := "".join([*headers, *headers.values()])).isascii() or not text.isprintable():
            raise StoreError(Problem.REFUSED, f"{stored.key[:200]!r} has metadata that would be another header")
        try:
            answer = self._sign_and_send("PUT", stored.key, headers, stored.body)
        except ClosedMeanwhileError:
            if self.has(stored):  # it is not written twice
                return
            answer = self._sign_and_send("PUT", stored.key, headers, stored.body)
        if answer.status >= 300:
            raise self._errors.of_refusal(answer, doing="write to")
        if answer.status != 200 or not answer.headers.get("etag"):
            # A login page of some network, say, answers 200 to anything.
            told = f"HTTP {answer.status}{'' if answer.headers.get('etag') else ', no ETag'}"
            raise self._errors.is_no_store(told)
        # The key may be told by another name than it was asked for by.
        if self._encryption and answer.headers.get(_SSE) != self._encryption[_SSE]:
            text = f"COS_ENDPOINT {self._url} stores without the encryption that COS_SSE asks for: leave COS_SSE empty"
            raise StoreError(Problem.UNREACHABLE, f"{text}, and have the bucket encrypt by its own settings")

    def has(self, stored: StoredObject) -> bool:
        """Whether the store has this very object already; False where it cannot be told.

        Raises:
            StoreError: the store is not well.

        """
        try:
            answer = self._sign_and_send("HEAD", stored.key, {}, b"")
        except ClosedMeanwhileError:
            answer = self._sign_and_send("HEAD", stored.key, {}, b"")
        if answer.status >= 500:
            raise self._errors.of_refusal(answer, doing="read")
        # Otherwise it is not there, or not for these credentials to see: a PUT will tell what is the matter.
        # An ETag is the MD5 of the content wherever an object was written in one piece and not encrypted with a key
        # of the customer's; elsewhere the object is written again, which does no harm.
        # So it is where encryption was asked for: whether it was done, only the answer to a PUT tells for certain.
        same = str(answer.headers.get("etag")).strip('"') == hashlib.md5(stored.body, usedforsecurity=False).hexdigest()
        return answer.status == 200 and same and not self._encryption

    def read(self, key: str, *, only_head: bool = False) -> ReadObject | None:
        """An object, of its body as much as a message may have; None where there is none.

        Raises:
            ObjectArchivedError: the object lies in an archive.
            ObjectError: this one cannot be read for another reason; others can.
            StoreError: it cannot be told.

        """
        try:
            told = self.ask("head_object" if only_head else "get_object", Key=key)
        except NoObjectError:
            return None
        body = b"" if only_head else told["Body"].read(MAX_MESSAGE_BYTES)
        metadata = {name.lower(): value for name, value in told.get("Metadata", {}).items()}
        storage_class, restored = told.get("StorageClass", ""), 'ongoing-request="false"' in told.get("Restore", "")
        archived = (storage_class in ARCHIVES or bool(told.get("ArchiveStatus"))) and not restored
        return ReadObject(body, told.get("ContentLength", 0), metadata, storage_class, archived)

    def link(self, key: str, *, seconds: int) -> str | None:
        """A URL by which anybody can read the object for so long; None with IAM's credentials, which sign no URLs."""
        if self._tokens is not None:
            return None
        return self._client.link(key, seconds=seconds)

    def ask(self, operation: str, **what: Any) -> dict[str, Any]:
        """Asks the SDK's client for something that concerns the bucket; see `Client.ask`."""
        return self._client.ask(operation, **what)

    def is_no_store(self, why: str) -> StoreError:
        """The error for an answer that makes no sense."""
        return self._errors.is_no_store(why)

    def _sign_and_send(self, method: str, key: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path = self._root + quote(key)
        request = Request(method, self._server.origin + path, {"host": self._server.host, **headers}, body)
        credentials = self._credentials.get_frozen_credentials()
        signer = OAuth2(credentials) if self._tokens else Signer(credentials, "s3", _REGION)
        signer.add_auth(request)
        return self._send(method, path, request.headers, body)

    def _send(
        self, method: str, path: str, headers: Mapping[str, Any], body: bytes, *, max_bytes: int = MAX_BYTES
    ) -> Answer:
        try:
            return self._server.request(method, path, headers, body, max_bytes=max_bytes)
        except OSError as error:
            raise self._errors.of_trouble(error) from error
