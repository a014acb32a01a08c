"""Signatures are those of AWS' own example and of IBM's SDK."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibm_botocore.auth import S3SigV4Auth
from ibm_botocore.awsrequest import AWSRequest
from ibm_botocore.credentials import Credentials

from cloud_saver import sigv4
from cloud_saver.sigv4 import Signer

KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
SDK = S3SigV4Auth(Credentials(*KEYS), "s3", "us-east-1")
SIGNER = Signer(*KEYS, region="us-east-1")

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


def test_the_example_that_aws_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, PUT Object."""
    monkeypatch.setattr(sigv4, "_now", lambda: "20130524T000000Z")
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    signed = SIGNER.signed("PUT", "/test%24file.text", headers, b"Welcome to Amazon S3.")
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        " SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
        " Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )
    assert signed.items() > headers.items()


@given(
    method=st.sampled_from(["PUT", "HEAD"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    metadata=st.dictionaries(TOKEN, PRINTABLE),
    body=st.binary(max_size=100),
)
def test_the_sdk_signs_alike(method: str, key: str, metadata: dict[str, str], body: bytes) -> None:
    """Any key, any metadata, with its spaces."""
    path = "/faces/" + quote(key, safe="/~")
    headers = {"host": "store.example:9000", **{f"x-amz-meta-{name}": value for name, value in metadata.items()}}
    signed = SIGNER.signed(method, path, headers, body)
    unsigned = {name: value for name, value in signed.items() if name != "authorization"}
    request = AWSRequest(method, f"http://store.example:9000{path}", headers=unsigned, data=body)
    request.context["timestamp"] = signed["x-amz-date"]
    canonical = SDK.canonical_request(request)
    assert signed["x-amz-content-sha256"] == SDK.payload(request)
    assert unsigned.items() >= headers.items()
    expected = SDK.signature(SDK.string_to_sign(request, canonical), request)
    assert signed["authorization"].endswith(f"Signature={expected}")
    assert f"SignedHeaders={SDK.signed_headers(SDK.headers_to_sign(request))}," in signed["authorization"]


@given(query=st.dictionaries(TOKEN, st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_the_sdk_signs_a_query_alike(query: dict[str, str]) -> None:
    """Of lists, for example."""
    path = "/faces/?" + urlencode(sorted(query.items()), quote_via=quote, safe="")
    signed = SIGNER.signed("GET", path, {"host": "store.example:9000"}, b"")
    unsigned = {name: value for name, value in signed.items() if name != "authorization"}
    request = AWSRequest("GET", f"http://store.example:9000{path}", headers=unsigned)
    request.context["timestamp"] = signed["x-amz-date"]
    expected = SDK.signature(SDK.string_to_sign(request, SDK.canonical_request(request)), request)
    assert signed["authorization"].endswith(f"Signature={expected}")


def test_every_day_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saver runs for longer than a day."""
    signatures = []
    for day in ("20260101", "20260102", "20260101"):
        monkeypatch.setattr(sigv4, "_now", lambda day=day: f"{day}T000000Z")
        found = re.search("Signature=([0-9a-f]{64})$", SIGNER.signed("PUT", "/", {"host": "a"}, b"")["authorization"])
        assert found
        signatures.append(found[1])
    assert signatures[0] == signatures[2]
    assert signatures[0] != signatures[1]
