"""One password, kept as a hash only (scrypt, https://www.rfc-editor.org/rfc/rfc7914)."""

import base64
import binascii
import hashlib
import hmac
import os

# 32 MiB and a tenth of a second a try.
_COST, _BLOCK, _LANES = 2**15, 8, 1
_MEMORY = 128 * _COST * _BLOCK * 2
_LONGEST = 1024


def hashed(password: str) -> str:
    """As `scrypt:salt:hash`, both in base64."""
    salt = os.urandom(16)
    return f"scrypt:{base64.b64encode(salt).decode()}:{base64.b64encode(_hash(password, salt)).decode()}"


def is_hash(text: str) -> bool:
    """Whether it is one of `hashed`."""
    return _parts(text) is not None


def matches(password: str, text: str) -> bool:
    """Whether `text` is the hash of this password."""
    parts = _parts(text)
    return parts is not None and len(password) <= _LONGEST and hmac.compare_digest(_hash(password, parts[0]), parts[1])


def _hash(password: str, salt: bytes) -> bytes:
    secret = password.encode(errors="surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY, dklen=32)


def _parts(text: str) -> tuple[bytes, bytes] | None:
    kind, _, rest = text.partition(":")
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in rest.split(":"))
    except (ValueError, binascii.Error):
        return None
    return (salt, digest) if kind == "scrypt" and len(salt) == 16 and len(digest) == 32 else None
