"""Requests to S3, signed: AWS Signature Version 4 in the `Authorization` header, or in the URL itself.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote


class Signer:
    """Signs for one key pair and region, all headers and the body. Safe to use from many threads.

    An SDK's signer takes several times as long for the same signature.
    """

    def __init__(self, access_key_id: str, secret_access_key: str, *, region: str) -> None:
        self._access_key_id = access_key_id
        self._secret = secret_access_key
        self._region = region
        self._key_of_day = ("", b"")

    def signed(self, method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """The headers, with those that say who sends them.

        Args:
            method: such as `PUT`.
            path: percent-encoded as it is sent; the query's names in their order, each with a `=`.
            headers: with `host`; names in lower case.
            body: all of it.

        """
        now = _now()
        scope = self._scope(now)
        digest = hashlib.sha256(body).hexdigest()
        headers = headers | {"x-amz-content-sha256": digest, "x-amz-date": now}
        names = sorted(headers)
        signed_names = ";".join(names)
        lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in names]
        path, _, query = path.partition("?")
        canonical = f"{method}\n{path}\n{query}\n{''.join(lines)}\n{signed_names}\n{digest}"
        signature = self._signature(now, canonical)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key_id}/{scope},"
            f" SignedHeaders={signed_names}, Signature={signature}"
        )
        return headers

    def presigned(self, path: str, *, host: str, seconds: int) -> str:
        """The path (percent-encoded) with a query by which anybody may GET it for so long, a week at most."""
        now = _now()
        credential = quote(f"{self._access_key_id}/{self._scope(now)}", safe="")
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}"
            f"&X-Amz-Date={now}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host"
        )
        signature = self._signature(now, f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD")
        return f"{path}?{query}&X-Amz-Signature={signature}"

    def _scope(self, now: str) -> str:
        return f"{now[:8]}/{self._region}/s3/aws4_request"

    def _signature(self, now: str, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{self._scope(now)}\n{digest}"
        return hmac.digest(self._key(now[:8]), to_sign.encode(), "sha256").hex()

    def _key(self, day: str) -> bytes:
        known_day, key = self._key_of_day
        if known_day != day:
            key = f"AWS4{self._secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key_of_day = (day, key)
        return key


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
