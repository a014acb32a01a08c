"""The SDK's signer, over plain dictionaries, and a checksum.

It keeps headers in Python's class for those of e-mails, which is most of what a signature costs
(`tests/unit/test_signing.py` holds the two against each other).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ibm_botocore.auth import S3SigV4Auth
from ibm_botocore.awsrequest import AWSRequest


class Request(AWSRequest):  # type: ignore[misc] # the SDK has no types
    """`headers` has each name once."""

    def __init__(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        super().__init__(method, url, data=body)
        self.headers = headers

    @property
    def body(self) -> bytes:
        return self.data  # type: ignore[no-any-return] # as above


class Signer(S3SigV4Auth):  # type: ignore[misc] # as above
    """Signs all headers."""

    def headers_to_sign(self, request: Any) -> _Headers:
        return _Headers((name.lower(), value) for name, value in request.headers.items())


class _Headers(dict[str, str]):
    def get_all(self, name: str) -> list[str]:
        return [self[name]]


def content_md5(body: bytes) -> str:
    """The header of that name."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
