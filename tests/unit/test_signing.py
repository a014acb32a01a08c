"""Signatures over plain dictionaries are those of AWS' own example and of the SDK over its own headers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ibm_botocore import auth
from ibm_botocore.auth import S3SigV4Auth
from ibm_botocore.awsrequest import AWSRequest
from ibm_botocore.credentials import Credentials

from object_store.signing import Request, Signer

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
SIGNER = Signer(KEYS, "s3", "us-east-1")

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


class _Now:
    """In place of the SDK's module `datetime`."""

    datetime = type("datetime", (datetime,), {"utcnow": staticmethod(lambda: datetime(2013, 5, 24))})  # noqa: DTZ001


@pytest.fixture(autouse=True, scope="module")
def _clock_stands_still() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "datetime", _Now)
        yield


def test_the_example_that_aws_published() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, PUT Object."""
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    url = "https://examplebucket.s3.amazonaws.com/test%24file.text"
    request = Request("PUT", url, headers, b"Welcome to Amazon S3.")
    SIGNER.add_auth(request)
    assert request.headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        " SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
        " Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


@given(
    method=st.sampled_from(["PUT", "HEAD"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    metadata=st.dictionaries(TOKEN, PRINTABLE),
    body=st.binary(max_size=100),
    scheme=st.sampled_from(["http", "https"]),
    query=st.dictionaries(TOKEN, TOKEN),
)
@example(
    method="PUT",
    key="k",
    metadata={"a": "1", "a-b": "2", "ab": "3", "a0": "4"},
    body=b"",
    scheme="http",
    query={"b": "1", "a": "2", "a-b": "3"},
)
def test_the_sdk_signs_alike(
    *, method: str, key: str, metadata: dict[str, str], body: bytes, scheme: str, query: dict[str, str]
) -> None:
    """Any key, any metadata, with its spaces, any query."""
    url = f"{scheme}://store.example:9000/faces/{quote(key)}" + (f"?{urlencode(query)}" if query else "")
    headers = {"host": "store.example:9000", **{f"x-amz-meta-{name}": value for name, value in metadata.items()}}
    ours = Request(method, url, dict(headers), body)
    theirs = AWSRequest(method, url, dict(headers), body)
    SIGNER.add_auth(ours)
    S3SigV4Auth(KEYS, "s3", "us-east-1").add_auth(theirs)
    assert ours.headers == dict(theirs.headers.items())
    assert ours.body == body


@pytest.mark.parametrize("region", ["us-east-1", "garage"])
def test_the_key_of_a_day_is_not_used_on_another(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is derived once a day, whichever day comes next."""
    signer = Signer(KEYS, "s3", region)
    for day in (24, 24, 25, 24, 26, 26):
        moment = datetime(2013, 5, day)  # noqa: DTZ001 - as the SDK's
        monkeypatch.setattr(_Now.datetime, "utcnow", staticmethod(lambda moment=moment: moment))
        headers = {"host": "store.example"}
        ours = Request("PUT", "https://store.example/faces/x", dict(headers), b"x")
        theirs = AWSRequest("PUT", "https://store.example/faces/x", dict(headers), b"x")
        signer.add_auth(ours)
        S3SigV4Auth(KEYS, "s3", region).add_auth(theirs)
        assert ours.headers["Authorization"] == theirs.headers["Authorization"]
