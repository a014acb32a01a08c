"""GETs from a camera over HTTP: its connection is kept, its challenges are answered, its redirects followed."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, responses
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from edge_face_detection.sources.address import shown_place
from edge_face_detection.sources.camera import CameraError
from edge_face_detection.sources.login import Login

_MOST_REDIRECTS = 5
_REDIRECTS, _FOR_EVER = (301, 302, 303, 307, 308), (301, 308)
# What is read of an answer that is not wanted, so that its connection can be used again.
_MOST_LEFTOVER_BYTES = 2**16
# A camera that asks for more patience is asked all the same.
_LONGEST_RETRY_AFTER = 300.0
_REMEDIES = {
    401: "are user and password right?",
    403: "may this user see the video?",
    429: "is it asked too often?",
    503: "is it still starting, or do too many watch it already?",
}


class Web:
    """One camera's HTTP or HTTPS server.

    Certificates are not checked, since cameras make their own. Proxies are not used, since cameras are near. `seconds`
    are what connecting, and each wait for data, may take; 0 for ever.
    """

    def __init__(self, url: str, *, seconds: float) -> None:
        self._url = url
        self._seconds = seconds or None
        parts = urlsplit(url)
        self._login = None if parts.username is None else Login(unquote(parts.username), unquote(parts.password or ""))
        self._home = _origin(parts)
        #: Host and port, for messages.
        self.place = shown_place(*self._home[1:])
        self._connection: HTTPConnection | None = None
        self._connected_to: tuple[str, str, int] | None = None
        self._socket: socket.socket | None = None
        self._answer: HTTPResponse | None = None
        #: Set by `cancel()`.
        self.cancelled = threading.Event()

    def get(self, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        """The answer, after redirects and a login; whatever its status. Raises CameraError."""
        url, is_challenged = self._url, False
        for _ in range(_MOST_REDIRECTS + 2):
            parts = urlsplit(url)
            answer = self._ask(parts, dict(headers or {}))
            target = answer.headers.get("Location")
            if answer.status in _REDIRECTS and target:
                try:
                    url = urljoin(url, target)
                    _, host, _ = _origin(urlsplit(url))
                except ValueError:
                    host = ""
                if not host or urlsplit(url).scheme not in ("http", "https"):
                    raise CameraError(f"{self.place} redirects us to an address that is none of http:// or https://")
                if answer.status in _FOR_EVER:
                    self._url = url
            elif answer.status == 401 and (login := self._login_at(parts)) and not is_challenged:
                is_challenged = True
                if not login.challenged(answer.headers.get_all("WWW-Authenticate", [])):
                    return answer
            else:
                return answer
        raise CameraError(f"{self.place} redirects us again and again: is the path right?")

    def complaint(self, answer: HTTPResponse) -> CameraError:
        """Why an answer is of no use."""
        kind = content_type(answer) or "no content type"
        if answer.status != 200:
            remedy = remedy_for(answer.status, has_user=self._login is not None)
        elif "html" in kind:
            remedy = "this is a page for people, such as a login: is the path that of its video or picture?"
        else:
            remedy = "neither video nor picture: is the path right?"
        message = f"{self.place} answers {shown_status(answer.status)} with {kind}: {remedy}"
        return CameraError(message, retry_after=_retry_after(answer))

    def cancel(self) -> None:
        """End whatever waits for the camera, from whichever thread."""
        self.cancelled.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                # Not SSLSocket's own, which takes the session from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def wait_no_longer_than(self, seconds: float) -> None:
        """What each wait for data may take from now on; 0 for ever."""
        self._seconds = seconds or None
        if self._socket is not None:
            self._socket.settimeout(self._seconds)

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        if self._connection is not None:
            self._connection.close()

    def no_answer(self, error: Exception) -> CameraError:
        """Why an answer did not come, or broke off."""
        if self.cancelled.is_set() or isinstance(error, TimeoutError):
            why = "no answer in time"
        elif isinstance(error, OSError):
            why = f"no answer ({error.strerror or error})"
        else:
            why = "its answer is no HTTP"
        return CameraError(f"{self.place} is there but gives no video: {why}. Are scheme, port and path right?")

    def _ask(self, parts: SplitResult, headers: dict[str, str]) -> HTTPResponse:
        kept = self._connect(parts)
        assert self._connection is not None
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="!#$%&'()*+,/:;=?@[]~")
        headers |= {"Accept": "*/*", "User-Agent": "edge_face_detection"}
        if login := self._login_at(parts):
            headers |= login.headers(path)
        try:
            self._connection.request("GET", path, headers=headers)
            self._answer = self._connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            self._connection.close()
            self._answer = None
            # A server may close a connection that has nothing to do; it has not seen this request then.
            if kept and not self.cancelled.is_set() and not isinstance(error, TimeoutError):
                return self._ask(parts, headers)
            raise self.no_answer(error) from error
        return self._answer

    def _login_at(self, parts: SplitResult) -> Login | None:
        """The login, if the URL is of the camera itself: no other host may see the password."""
        scheme, host, _ = origin = _origin(parts)
        is_own = origin == self._home or (scheme, host) == ("https", self._home[1])
        return self._login if is_own else None

    def _connect(self, parts: SplitResult) -> bool:
        """Connect to the URL's server, if we are not yet; return whether we were."""
        answer, origin = self._answer, _origin(parts)
        if answer is not None and not answer.will_close:
            # Make way for the next answer on the same connection.
            with contextlib.suppress(OSError, HTTPException):
                answer.read(_MOST_LEFTOVER_BYTES)
        if answer is not None and not answer.isclosed():
            self.close()
        if origin == self._connected_to and self._connection is not None and self._connection.sock is not None:
            return True
        self.close()
        scheme, host, port = origin
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._connection = HTTPSConnection(host, port, timeout=self._seconds, context=context)
        else:
            self._connection = HTTPConnection(host, port, timeout=self._seconds)
        self._connected_to = origin
        try:
            self._connection.connect()
            # The connection forgets it when an answer ends with it.
            self._socket = self._connection.sock
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
            place = self.place if origin == self._home else f"the server to which {self.place} redirects us"
            if isinstance(error, ssl.SSLError) or "handshake" in str(error):
                message = f"{place} speaks no TLS ({error}): is it http:// in place of https://?"
            else:
                message = f"cannot reach {place} ({error}): is the camera on, and are host and port right?"
            raise CameraError(message) from error
        return False


def shown_status(status: int) -> str:
    """Such as 404 Not Found, in our words and not in the camera's."""
    return f"{status} {responses.get(status, '')}".strip()


def remedy_for(status: int, *, has_user: bool) -> str:
    if status == 401 and not has_user:
        return "it wants user and password, as in http://user:password@host/path"
    return _REMEDIES.get(status, "has the camera a fault?" if status >= 500 else "is the path right?")


def content_type(answer: HTTPResponse) -> str:
    """Such as image/jpeg; empty if there is none, or none that can be shown."""
    kind = (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return kind if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", kind, re.ASCII) else ""


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return parts.scheme.lower(), parts.hostname or "", port


def _retry_after(answer: HTTPResponse) -> float:
    """In seconds; 0 if the camera does not say."""
    text = (answer.headers.get("Retry-After") or "").strip()
    if re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        # By the camera's own clock, which may be wrong.
        now = parsedate_to_datetime(answer.headers.get("Date") or formatdate(usegmt=True))
        return min(max(0.0, (parsedate_to_datetime(text) - now).total_seconds()), _LONGEST_RETRY_AFTER)
    except (ValueError, TypeError):  # TypeError: one of them without a time zone
        return 0.0
