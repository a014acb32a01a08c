"""The SDK's client, for all that is not done with each object.

It makes requests and reads answers. They go over our connections, and what is no yes of a store becomes our error,
before the SDK can try again or follow a redirect.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ibm_botocore.awsrequest import AWSResponse
from ibm_botocore.exceptions import BotoCoreError
from ibm_botocore.parsers import ResponseParserError

from face_messages.message import MAX_MESSAGE_BYTES
from object_store.connections import Answer
from object_store.errors import ClosedMeanwhileError, Errors
from object_store.signing import content_md5

_OF_PARSERS = (ResponseParserError, BotoCoreError, ValueError, LookupError, TypeError)
_FILES = ("profile", "config_file", "credentials_file")
_TAG = re.compile(r"<(?:[\w.-]+:)?([\w.-]{1,60})")


class _Operation(NamedTuple):
    """What it does to the bucket, the element that it brings, if that is known, and how many bytes at most."""

    doing: str
    brings: str = ""
    max_bytes: int = 4 * 1024 * 1024  # a list of a thousand objects whose keys are as long as they may be


_OPERATIONS = {
    "HeadObject": _Operation("read"),
    "GetObject": _Operation("read", max_bytes=MAX_MESSAGE_BYTES),
    "ListObjectsV2": _Operation("list", "ListBucketResult"),
    "ListObjectVersions": _Operation("list", "ListVersionsResult"),
    "DeleteObjects": _Operation("delete from", "DeleteResult"),
    "GetBucketVersioning": _Operation("read the settings of"),
    "GetBucketLifecycleConfiguration": _Operation("read the lifecycle of"),
    "PutBucketLifecycleConfiguration": _Operation("change the lifecycle of"),
    "DeleteBucketLifecycle": _Operation("change the lifecycle of"),
}


class NoObjectError(Exception):
    """There is none with this key."""


class Client:
    """Made by the SDK when it is first needed; the saver as a rule does without. Safe to use from many threads.

    Args:
        bucket: its name.
        host: what the header `host` says.
        send: takes method, path, headers, body and `max_bytes`, and raises a StoreError where there is no answer.
        errors: the bucket's.
        signature: the SDK's name for a kind of signature.
        options: for the SDK's `create_client`.

    """

    def __init__(
        self,
        *,
        bucket: str,
        host: str,
        send: Callable[..., Answer],
        errors: Errors,
        signature: str,
        options: Mapping[str, Any],
    ) -> None:
        self._bucket = bucket
        self._host = host
        self._send = send
        self._errors = errors
        self._signature = signature
        self._options = options
        self._lock = threading.Lock()
        self._made: Any = None

    def ask(self, operation: str, **what: Any) -> dict[str, Any]:
        """What the SDK makes of the answer. It may be asked twice.

        Args:
            operation: the client's method, such as `list_objects_v2`; one of `_OPERATIONS`.
            what: its arguments, but for `Bucket`.

        Raises:
            NoObjectError: a key was asked for that is not there.
            StoreError: it was not done.

        """
        try:
            told: dict[str, Any] = getattr(self._client(), operation)(Bucket=self._bucket, **what)
        except _OF_PARSERS as error:
            raise self._errors.is_no_store("no XML of S3, or not all of it") from error
        return told

    def link(self, key: str, *, seconds: int) -> str:
        """A URL by which anybody can read the object for so long."""
        what = {"Bucket": self._bucket, "Key": key}
        return str(self._client().generate_presigned_url("get_object", Params=what, ExpiresIn=seconds))

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._new_client()
            return self._made

    def _new_client(self) -> Any:
        # What only the client needs is loaded with it.
        from ibm_botocore.config import Config  # noqa: PLC0415
        from ibm_botocore.session import Session  # noqa: PLC0415

        # What it would read of its own: files of other programs' settings.
        session = Session(session_vars=dict.fromkeys(_FILES, (None, None, None, None)))
        # Nobody asks when an object was written, and to read that is most of what a list costs.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        config = Config(
            signature_version=self._signature,
            s3={"addressing_style": "path"},
            parameter_validation=False,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        client = session.create_client("s3", config=config, **self._options)
        events = client.meta.events
        events.register("before-sign.s3", self._before_sign)
        events.register("before-send.s3", self._instead_of_sending)
        events.register("after-call.s3.GetBucketLifecycleConfiguration", _note_what_is_not_read)
        return client

    def _before_sign(self, request: Any, **_: Any) -> None:
        # The SDK forgets the brackets of an IPv6 address, and IBM Cloud wants a checksum with some requests.
        request.headers["Host"] = self._host
        if request.body and "Content-MD5" not in request.headers:
            request.headers["Content-MD5"] = content_md5(request.body)

    def _instead_of_sending(self, request: Any, event_name: str, **_: Any) -> Any:
        doing, brings, most = _OPERATIONS[event_name.rpartition(".")[2]]
        url = urlsplit(request.url)
        path = f"{url.path}?{url.query}" if url.query else url.path
        asked = (request.method, path, request.headers, request.body or b"")
        try:
            answer = self._send(*asked, max_bytes=most)
        except ClosedMeanwhileError:
            answer = self._send(*asked, max_bytes=most)
        if answer.status == 404 and doing == "read" and b"NoSuchBucket" not in answer.body:
            raise NoObjectError
        if not 200 <= answer.status < 300:
            raise self._errors.of_refusal(answer, doing=doing)
        if brings:
            self._check(answer.body, brings)
        return AWSResponse(request.url, answer.status, answer.headers, _Body(answer.body))

    def _check(self, body: bytes, brings: str) -> None:
        text = body.decode(errors="replace")
        if "<!DOCTYPE" in text:
            # It can define entities, by which little text becomes much.
            raise self._errors.is_no_store("its XML is not of S3")
        root = _TAG.search(text)
        if root is None or root[1] != brings:
            raise self._errors.is_no_store(f"{root[1] if root else text[:60]!r} and no {brings}")


class _Body(io.BytesIO):
    """As the SDK reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _note_what_is_not_read(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Notes the `Root` of the XML, and what is `Unknown` in it: what the SDK does not read, it would not write back."""
    tags = _TAG.findall(http_response.content.decode(errors="replace"))
    parsed |= {"Root": tags[0] if tags else "", "Unknown": sorted({*tags[1:]} - _names(model.output_shape))}


def _names(shape: Any) -> set[str]:
    """Of all elements that the SDK knows below one."""
    if shape.type_name == "list":
        return {shape.member.serialization.get("name", "")} | _names(shape.member)
    members = getattr(shape, "members", {}).items()
    found = {each.serialization.get("name", name) for name, each in members}
    return found.union(*(_names(each) for _, each in members))
