"""How to speak of what VIDEO_SOURCE names: without secrets, in one line; and what is wrong with a camera's URL."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from edge_face_detection.sources.frame import SourceError

URL_SCHEMES = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""The schemes that may reach FFmpeg, with their default ports."""

# Other schemes that people try. No other word is repeated: what stands before :// may be a password.
_OTHER_SCHEMES = {"file", "ftp", "hls", "mms", "onvif", "rtmp", "rtmps", "rtp", "rtspt", "rtspu", "srt", "tcp", "udp"}
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
_FORM = "rtsp://user:password@host/path"
_CUT = "in .env a $ is written $$, or the whole value in single quotes"


@dataclass(frozen=True, slots=True)
class Address:
    """A camera's URL, split as FFmpeg splits it. User, path and query are secret: cameras take passwords in all three.

    `doubt` says why a part of the URL seems to be lost, with the remedy; it is empty where none does. `description` may
    be shown: scheme, *** for user and password, host and port, and the path where it is harmless, or else /…
    """

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    doubt: str
    description: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises SourceError, which shows nothing that may be secret and says how to write the URL."""
        _check_characters(url)
        written, separator, rest = url.partition("://")
        scheme = written.lower()
        if not separator or scheme not in URL_SCHEMES:
            raise SourceError(
                f"cannot read {f'{scheme}: URLs' if scheme in _OTHER_SCHEMES else 'such a URL'}: a camera's URL begins"
                f" with {', '.join(f'{known}://' for known in URL_SCHEMES)} and looks like {_FORM};"
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
        if found := re.search(r'[][<>"]', credentials):
            raise _wrong(f"has {found[0]} in its user or password", f"write {found[0]} as %{ord(found[0]):02X}")
        host, port = _host_and_port(place, has_user=bool(at))
        user, colon, password = credentials.partition(":")
        doubt = ""
        if at and not (user and (password or not colon)):
            doubt = f"its {'password' if user else 'user'} is empty: if it should not be, {_CUT}"
        elif "$$" in url:
            doubt = "it has $$ in it: only an unquoted line of .env writes a $ twice"
        path = more if _PLAIN_PATH.fullmatch(more) else "/…"
        description = f"{written}://{'***@' * bool(at)}{place.removesuffix(':')}{path}"
        return cls(url, scheme, host, port or URL_SCHEMES[scheme], doubt, description)


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


def shown_place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_characters(url: str) -> None:
    if re.match(rf"\s*[{_QUOTES}]|.*[{_QUOTES}]\s*$", url, re.DOTALL):
        raise _wrong("has a quotation mark at its beginning or end", "write it without quotes, or as %27 and %22")
    if not url.isprintable() or re.search(r"\s", url):
        raise _wrong("has spaces or control characters in it", "take them away, or percent-encode them: a space is %20")
    if "\\" in url:
        raise _wrong("has a backslash in it", "write / between its parts, and \\ in a password as %5C")
    # Some programs take a full-width @ for an @, some do not: then they disagree about which part is the host.
    if set("@:/?#[]\\%") & set(unicodedata.normalize("NFKC", re.sub(r"[\0-\x7f]", "", url))):
        raise _wrong(
            "has a look-alike of @ : / ? # or % in it, such as a full-width @",
            "type the plain character, or percent-encode the UTF-8 of the other: a full-width @ is %EF%BC%A0",
        )


def _host_and_port(place: str, *, has_user: bool) -> tuple[str, int]:
    """The port is 0 where none is named."""
    if ip6 := re.fullmatch(r"\[([^]]*)\](.*)", place):
        host, port = ip6[1], ip6[2]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise _wrong("has no IPv6 address in its brackets", "write [ and ] in a password as %5B and %5D") from None
        if port and not port.startswith(":"):
            raise _wrong("has something behind the ] of its host", "write the host as [fe80::1]:554")
        port = port[1:]
    else:
        host, _, port = place.partition(":")
        if not host:
            raise _wrong("names no host", f"write it as {_FORM}; {_CUT}")
        if ":" in port:
            raise _wrong("has more than one : in its host", "write an IPv6 address in brackets, as [fe80::1]")
        if not has_user and (host.lower() in _USERS or not re.fullmatch("[0-9]*", port)):
            raise _wrong(
                "seems to name a user and no host: it has no @", f"write it as {_FORM}; if its end is missing, {_CUT}"
            )
        if not _HOST.fullmatch(host) or len(host) > 253 or host.lower() in URL_SCHEMES:
            raise _wrong(
                "has a host that cannot be one",
                "write a name or an address, and percent-encode what is special in user and password: @ is %40",
            )
    if not re.fullmatch("[0-9]{0,5}", port) or int(port or 0) > 65535:
        raise _wrong("has no valid port", "write a number up to 65535 behind the host's :, and @ in a password as %40")
    return host, int(port or 0)


def _wrong(what: str, remedy: str) -> SourceError:
    return SourceError(f"the URL of the camera {what}: {remedy}")
