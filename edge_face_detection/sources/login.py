"""A login over HTTP: Basic (RFC 7617) or Digest (RFC 7616, and RFC 2617 before it)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from urllib.request import parse_http_list, parse_keqv_list

_DIGESTS = {"md5": "md5", "sha-256": "sha256"}


class Login:
    """One user's, at one server. Nothing is sent before the server asks for it."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def challenged(self, headers: Sequence[str]) -> bool:
        """Take the WWW-Authenticate headers of an answer; return whether one of their challenges can be answered."""
        self._challenge, self._count = None, 0
        for challenge in re.split(r"(?i)(?:^|,)\s*(?=(?:digest|basic)\b)", ", ".join(headers)):
            scheme, _, rest = challenge.strip().partition(" ")
            if scheme.lower() == "basic" and self._challenge is None:
                self._challenge = {}
            elif scheme.lower() == "digest" and not self._challenge:
                pairs = parse_keqv_list([pair for pair in parse_http_list(rest) if "=" in pair])
                fields = {key.lower(): value for key, value in pairs.items()}
                if "nonce" in fields and fields.get("algorithm", "MD5").lower().removesuffix("-sess") in _DIGESTS:
                    self._challenge = fields
        return self._challenge is not None

    def headers(self, path: str) -> dict[str, str]:
        """What to send with a GET."""
        if self._challenge is None:
            return {}
        if not self._challenge:
            return {"Authorization": "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()}
        return {"Authorization": self._digest(self._challenge, path)}

    def _digest(self, challenge: dict[str, str], path: str) -> str:
        self._count += 1
        algorithm = challenge.get("algorithm", "MD5")

        def digest(*words: str) -> str:
            name = _DIGESTS[algorithm.lower().removesuffix("-sess")]
            return hashlib.new(name, ":".join(words).encode()).hexdigest()

        nonce, realm = challenge["nonce"], challenge.get("realm", "")
        own, count = secrets.token_hex(8), f"{self._count:08x}"
        secret = digest(self._user, realm, self._password)
        if algorithm.lower().endswith("-sess"):
            secret = digest(secret, nonce, own)
        plain: dict[str, str] = {"algorithm": algorithm} if "algorithm" in challenge else {}
        middle = [nonce]
        if "auth" in re.split(r"[\s,]+", challenge.get("qop", "")):
            middle += [count, own, "auth"]
            plain |= {"qop": "auth", "nc": count}
        quoted = {
            "username": self._user,
            "realm": realm,
            "nonce": nonce,
            "uri": path,
            "cnonce": own,
            "response": digest(secret, *middle, digest("GET", path)),
        }
        if "opaque" in challenge:
            quoted["opaque"] = challenge["opaque"]
        escaped = {key: re.sub(r'(["\\])', r"\\\1", value) for key, value in quoted.items()}
        fields = [f'{key}="{value}"' for key, value in escaped.items()] + [f"{k}={v}" for k, v in plain.items()]
        return "Digest " + ", ".join(fields)
