"""Names that others chose, made fit for an object key or a file system."""

import hashlib
import re
from urllib.parse import quote

_MAX_NAME = 128
# Nothing to be encoded or cut, as nearly always. To see that is far cheaper than to encode.
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{_MAX_NAME}}}").fullmatch
# A lone dot inside a name is harmless; a leading one hides a file, and two are the way up.
_RISKY_DOT = re.compile(r"^\.|\.(?=\.)|(?<=\.)\.|\.$")


def safe_name(name: str | bytes) -> str:
    """A name as one segment of a path: percent-encoded where it must be, of 128 characters at most, one to one.

    A longer one is cut, and its hash follows behind `~`, which no other name can hold.
    """
    if isinstance(name, str) and _PLAIN(name):
        return name
    encoded = quote(name, safe="").replace("~", "%7E")
    return bounded(_RISKY_DOT.sub("%2E", encoded), _MAX_NAME)


def bounded(text: str, longest: int) -> str:
    """The text, cut to `longest` characters with its hash at the end where it has more."""
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{text[: longest - 33]}~{digest}"
