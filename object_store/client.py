"""The SDK's client, for everything but the writing of objects: it makes requests and reads answers.

The requests are signed and sent by the bucket. An answer that is no yes becomes our error before the SDK can try again
or follow a redirect.
"""

import hashlib
import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from ibm_botocore import UNSIGNED
from ibm_botocore.awsrequest import AWSResponse
from ibm_botocore.exceptions import BotoCoreError
from ibm_botocore.parsers import ResponseParserError

from face_messages.message import MAX_MESSAGE_BYTES
from object_store.answers import Answer
from object_store.errors import Errors

_OF_PARSERS = (ResponseParserError, BotoCoreError, ValueError, LookupError, TypeError)
_TAG = re.compile(r"<(?:[\w.-]+:)?([\w.-]{1,60})")
_MAX_LIST = 4 * 1024 * 1024  # a thousand objects whose keys are as long as they may be

# Headers that are not signed, and that each request gets when it is sent.
_OF_CONNECTIONS = ("accept-encoding", "content-length", "user-agent")
# What each operation does to the bucket, and the element that it brings, if that is known.
_OPERATIONS = {
    "HeadObject": ("read", ""),
    "GetObject": ("read", ""),
    "ListObjectsV2": ("list", "ListBucketResult"),
    "ListObjectVersions": ("list", "ListVersionsResult"),
    "DeleteObjects": ("delete from", "DeleteResult"),
    "GetBucketVersioning": ("read the settings of", ""),
    "GetBucketLifecycleConfiguration": ("read the lifecycle of", ""),
    "PutBucketLifecycleConfiguration": ("change the lifecycle of", ""),
    "DeleteBucketLifecycle": ("change the lifecycle of", ""),
}


class NoObjectError(Exception):
    """No object has this key."""


class Client:
    """Safe to use from many threads. `send` takes method, target in the bucket, headers, body and `max_bytes`."""

    def __init__(self, bucket: str, send: Callable[..., Answer], errors: Errors) -> None:
        self._bucket = bucket
        self._send = send
        self._errors = errors

    def ask(self, operation: str, **what: Any) -> dict[str, Any]:
        """What the SDK makes of the answer to one of `_OPERATIONS`, such as `list_objects_v2`. It may be asked twice.

        Raises NoObjectError if no object has the key that was asked for, and StoreError if it was not done.
        """
        try:
            told: dict[str, Any] = getattr(self._made, operation)(Bucket=self._bucket, **what)
        except _OF_PARSERS as error:
            raise self._errors.is_no_store("no XML of S3, or not all of it") from error
        return told

    @cached_property
    def _made(self) -> Any:
        # The saver as a rule does without the client, which takes time and memory.
        from ibm_botocore.config import Config  # noqa: PLC0415
        from ibm_botocore.session import Session  # noqa: PLC0415

        # Other programs' settings are not read.
        files = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))
        session = Session(session_vars=files)
        # Nobody asks when an object was written, and to read that is most of what a list costs.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        config = Config(
            signature_version=UNSIGNED,
            s3={"addressing_style": "path"},
            parameter_validation=False,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        # Only the path of the URL counts.
        client = session.create_client("s3", "us-east-1", endpoint_url="http://store", config=config)
        client.meta.events.register("before-send.s3", self._instead_of_sending)
        client.meta.events.register("after-call.s3.GetBucketLifecycleConfiguration", _note_what_is_not_read)
        return client

    def _instead_of_sending(self, request: Any, event_name: str, **_: Any) -> Any:
        operation = event_name.rpartition(".")[2]
        doing, brings = _OPERATIONS[operation]
        url = urlsplit(request.url)
        target = url.path.removeprefix(f"/{self._bucket}") + (f"?{url.query}" if url.query else "")
        headers = {name.lower(): v.decode() if isinstance(v, bytes) else v for name, v in request.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in _OF_CONNECTIONS}
        body = request.body or b""
        if body:
            headers["content-md5"] = b64encode(
                hashlib.md5(body, usedforsecurity=False).digest()
            ).decode()  # IBM Cloud wants one with some requests
        most = MAX_MESSAGE_BYTES if operation == "GetObject" else _MAX_LIST
        answer = self._send(request.method, target, headers, body, max_bytes=most)
        if answer.status == 404 and doing == "read" and b"NoSuchBucket" not in answer.body:
            raise NoObjectError
        if not 200 <= answer.status < 300:
            raise self._errors.of_answer(answer, doing=doing)
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
