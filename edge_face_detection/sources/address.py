"""How to speak of what VIDEO_SOURCE names: without secrets, in one line; and what is wrong with a camera's URL."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from edge_face_detection.sources.frame import SourceError

__all__ = ["URL_SCHEMES", "Address", "is_address", "may_hold_secret", "shown_path"]

URL_SCHEMES = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""The schemes that may reach FFmpeg, with their default ports."""

# Other schemes that people try. No other one is repeated: what stands before :// may be a password.
_OTHER_SCHEMES = {"file", "ftp", "hls", "mms", "onvif", "rtmp", "rtmps", "rtp", "rtspt", "rtspu", "srt", "tcp", "udp"}
_ENCODED = {mark: f"%{ord(mark):02X}" for mark in '#/?@:[]\\<>"'}
_QUOTES = "'\"`\u2018\u2019\u201c\u201d\u201e\xab\xbb"
# Nobody calls a host so, but an @HOST that was cut off leaves this behind.
_USERS = {"admin", "administrator", "root", "user", "username", "guest", "service", "viewer", "operator", "supervisor"}
# Passwords and keys stand in paths too: a path of other words than these is not shown.
_PLAIN_PATH = re.compile(
    r"(/(stream|streaming|video|live|media|cam|camera|ch|channels?|main|sub|h26[45]|mpeg4|mjpe?g|webcam)[0-9]{0,2}"
    r"(\.(mjpe?g|sdp))?)*/?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?")
_LONGEST_NAME = 300
_CUT = "in .env a $ is written $$, or the whole value in single quotes"


@dataclass(frozen=True, slots=True)
class Address:
    """A camera's URL, split as FFmpeg splits it. Nothing of it but `description` may be shown.

    User, path and query stay secret: cameras take passwords in all three.
    """

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    doubt: str
    """What makes the URL look as if a part of it were lost, with the remedy; empty where nothing does."""
    description: str
    """Scheme, *** for user and password, host and port, and the path where it is harmless, or else /…"""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises SourceError, which shows nothing that may be secret and says how to write it."""
        _check_characters(url)
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in URL_SCHEMES:
            known = f"{scheme}: URLs" if scheme in _OTHER_SCHEMES else "such a URL"
            raise SourceError(
                f"cannot read {known}: a camera's URL begins with {_list('://')}, as rtsp://user:password@host/path;"
                " write # in a password as %23, / as %2F and @ as %40"
            )
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        more = rest[len(authority) :]
        # FFmpeg ends user and host at the first of / ? #. An @ behind it means that this one was meant otherwise, and
        # what looks like the host is a part of the user or of the password. Nobody may look that up.
        if "@" in more or more.startswith("#"):
            raise _wrong(
                "has an @ behind a / ? or #" if "@" in more else "has a # where its host ends",
                "write # as %23, / as %2F and ? as %3F in user and password, and @ as %40 behind the host",
            )
        credentials, at, place = authority.rpartition("@")
        for mark in '[]\\<>"':
            if mark in credentials:
                raise _wrong(f"has {mark} in its user or password", f"write {mark} as {_ENCODED[mark]}")
        host, port = _split(place, scheme, has_user=bool(at))
        user, colon, password = credentials.partition(":")
        doubt = ""
        if at and not (user and (password or not colon)):
            doubt = f"its {'password' if user else 'user'} is empty: if it should not be, {_CUT}"
        elif "$$" in url:
            doubt = "it has $$ in it: only an unquoted line of .env writes a $ twice"
        shown = f"[{host}]" if ":" in host else host
        where = place[len(shown) :] if place.rpartition(":")[2] else ""
        path = more if _PLAIN_PATH.fullmatch(more) else "/…"
        description = f"{url[: len(scheme)]}://{'***@' * bool(at)}{shown}{where}{path}"
        return cls(url, scheme, host, port, doubt, description)


def is_address(text: str) -> bool:
    """Whether it is meant as a URL. With its slashes or colon forgotten it is no file's name either."""
    return re.match(rf"(?i)\W*([a-z][a-z0-9+.-]*://|({'|'.join(URL_SCHEMES)})([:;]|[/\\]{{2}}))", text) is not None


def may_hold_secret(text: str) -> bool:
    """Whether it looks like a part of a URL with credentials, and not like the name of a file."""
    return re.search(r"(?i)[@:?=&#$%\\|]|passw|pwd|token|secret", unicodedata.normalize("NFKC", text)) is not None


def shown_path(path: Path | str) -> str:
    """A file's name for logs: printable, in one line, bounded. Names may be any bytes."""
    text = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME // 2]}…{text[-_LONGEST_NAME // 2 :]}"


def _check_characters(url: str) -> None:
    if url.strip() and (url.strip()[0] in _QUOTES or url.strip()[-1] in _QUOTES):
        raise _wrong("has a quotation mark at its beginning or end", "write it without quotes, or as %27 and %22")
    if not url.isprintable() or any(character.isspace() for character in url):
        raise _wrong("has spaces or control characters in it", "take them away, or percent-encode them: a space is %20")
    if "\\" in url:
        raise _wrong("has a backslash in it", "write / between its parts, and \\ in a password as %5C")
    for character in url:
        # Some programs take a full-width @ for an @, some do not: then they disagree about which part is the host.
        if not character.isascii() and set(unicodedata.normalize("NFKC", character)) & set("@:/?#[]\\%"):
            raise _wrong(
                "has a look-alike of @ : / ? # or % in it, such as a full-width @",
                "type the plain character, or percent-encode the UTF-8 of the other: a full-width @ is %EF%BC%A0",
            )


def _split(place: str, scheme: str, *, has_user: bool) -> tuple[str, int]:
    """Host and port."""
    host, bracket, port = place.rpartition("]") if place.startswith("[") else place.partition(":")
    if bracket == "]":
        host = host[1:]
        _check_ip6(host)
        if port and not port.startswith(":"):
            raise _wrong("has something behind the ] of its host", "write the host as [fe80::1]:554")
        port = port[1:]
    if not host:
        raise SourceError(
            f"the URL of the camera names no host: write it as {scheme}://user:password@host/path; {_CUT}"
        )
    if bracket != "]" and ":" in port:
        raise _wrong(
            "has more than one : in its host", "write an IPv6 address in brackets, [fe80::1]; : in a user as %3A"
        )
    if not has_user and (host.lower() in _USERS or not re.fullmatch("[0-9]*", port)):
        raise _wrong(
            "seems to name a user and no host: it has no @",
            f"write it as {scheme}://user:password@host/path; if its end is missing, {_CUT}",
        )
    if not re.fullmatch("[0-9]{0,5}", port) or int(port or 0) > 65535:
        raise _wrong("has no valid port", "write a number up to 65535 behind the host's :, and @ in a password as %40")
    if bracket != "]" and (not _HOST.fullmatch(host) or len(host) > 253 or host.lower() in URL_SCHEMES):
        raise _wrong(
            "has a host that cannot be one",
            "write a name or an address, and percent-encode what is special in user and password: @ is %40, / is %2F",
        )
    return host, int(port or URL_SCHEMES[scheme])


def _check_ip6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise _wrong("has no IPv6 address in its brackets", "write brackets in a password as %5B and %5D") from None


def _wrong(what: str, remedy: str) -> SourceError:
    return SourceError(f"the URL of the camera {what}: {remedy}")


def _list(suffix: str) -> str:
    *first, last = (scheme + suffix for scheme in URL_SCHEMES)
    return f"{', '.join(first)} or {last}"
