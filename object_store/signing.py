"""Signs requests with HMAC keys, by the SDK's signer, and for the region that the store checks."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ibm_botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from ibm_botocore.awsrequest import AWSRequest
from ibm_botocore.credentials import ReadOnlyCredentials

from object_store.answers import Answer
from object_store.errors import region_in

log = logging.getLogger(__name__)

_USUAL_REGION = "us-east-1"  # most stores other than AWS accept any


@dataclass(slots=True)
class Request:
    """What the SDK's signers read of a request. `headers` has each name once, in lower case."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


class HmacKeys:
    """Sign for `region`, or if that is empty, for the region that the store names. Safe to use from many threads."""

    def __init__(self, access_key: str, secret_key: str, *, region: str = "") -> None:
        self._keys = ReadOnlyCredentials(access_key, secret_key, None)
        self._may_adopt = not region
        self._signer = Signer(self._keys, "s3", region or _USUAL_REGION)
        self._tried = {self._signer.region}
        self._went_back = False
        self._lock = threading.Lock()
        self._said = ""

    #: Whether `sign` does not wait for anything.
    is_ready = True

    def sign(self, request: Request) -> None:
        self._signer.add_auth(request)

    def learn(self, request: Request, answer: Answer) -> bool:
        """Whether the answer to this request has changed the region, so that another try may succeed."""
        with self._lock:
            region, told = self._signer.region, region_in(answer)
            if answer.status < 300:
                self._tried, self._went_back = {region}, False
                if region != self._said:
                    self._said = region
                    log.info("the store is in region %s: requests are signed for it from now on", region)
                return False
            if f"/{region}/s3/" not in request.headers["Authorization"]:
                return True  # another thread has learnt it meanwhile
            if not self._may_adopt or told in ("", region) or (told in self._tried and self._went_back):
                return False
            # Where two regions send us to each other, the first is the endpoint's and the second the bucket's.
            self._went_back = told in self._tried
            self._tried |= {told}
            self._signer = Signer(self._keys, "s3", told)
            return True

    def link(self, url: str, *, seconds: int) -> str:
        """The URL, signed for anybody to read for this long."""
        request = AWSRequest("GET", url)
        S3SigV4QueryAuth(self._keys, "s3", self._signer.region, expires=seconds).add_auth(request)
        return str(request.url)


class Signer(S3SigV4Auth):  # type: ignore[misc] # the SDK has no types
    """The SDK's signer over plain dictionaries. It signs all headers, and derives its key once a day.

    The SDK keeps headers in Python's class for e-mails, and sorts and derives everything several times: most of what
    its signature costs. `tests/unit/test_signing.py` compares the two.
    """

    def __init__(self, credentials: Any, service: str, region: str) -> None:
        super().__init__(credentials, service, region)
        self.region = region
        self._day_key: tuple[str, bytes] = ("", b"")

    def canonical_request(self, request: Any) -> str:
        url = urlsplit(request.url)
        headers = sorted((name.lower(), value) for name, value in request.headers.items())
        lines = "".join([f"{name}:{' '.join(value.split())}\n" for name, value in headers])
        names = request.context["signed"] = ";".join([name for name, _ in headers])
        query = self.canonical_query_string(request) if url.query else ""
        digest = request.headers["X-Amz-Content-SHA256"]
        return f"{request.method}\n{url.path}\n{query}\n{lines}\n{names}\n{digest}"

    def headers_to_sign(self, request: Any) -> Any:
        return request.context["signed"]

    def signed_headers(self, headers_to_sign: Any) -> Any:
        return headers_to_sign

    def signature(self, string_to_sign: str, request: Any) -> Any:
        day, key = self._day_key
        if day != request.context["timestamp"][:8]:
            day = request.context["timestamp"][:8]
            key = f"AWS4{self.credentials.secret_key}".encode()
            for part in (day, self.region, "s3", "aws4_request"):
                key = self._sign(key, part)
            self._day_key = (day, key)
        return self._sign(key, string_to_sign, hex=True)
