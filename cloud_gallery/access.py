"""Who may see the page: this machine, or whoever knows the password."""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import deque

from starlette.requests import Request
from starlette.responses import Response

from cloud_gallery.password import matches
from cloud_gallery.settings import GallerySettings

SESSION_SECONDS = 12 * 3600
_MAX_SESSIONS = 200
# Tries of all people together: behind Docker and proxies all have one address. Open sessions are not touched.
_TRIES, _TRIES_SECONDS = 10, 60.0
# Browsers send the first over https alone.
_SECURE_COOKIE, _COOKIE = "__Host-session", "session"


class Access:
    """Passwords and sessions. Safe to use from many threads."""

    def __init__(self, settings: GallerySettings) -> None:
        password = settings.gallery_password
        self._hash = password.get_secret_value() if password else ""
        self._lock = threading.Lock()
        # A try costs time and memory on purpose. This lock lets one try run at a time.
        self._trying = threading.Lock()
        #: The beginning of each session, the oldest first.
        self._sessions: dict[bytes, tuple[float, ...]] = {}
        self._tries: deque[float] = deque()
        #: Wrong passwords since the start.
        self.refused = 0

    @property
    def needs_password(self) -> bool:
        return bool(self._hash)

    def may_look(self, request: Request) -> bool:
        """Whether there is a session, or none is needed."""
        if not self.needs_password:
            return True
        with self._lock:
            begun = [self._sessions.get(digest) for digest in _digests(request)]
        return any(each and _seconds_since(each) < SESSION_SECONDS for each in begun)

    def log_in(self, password: str, response: Response, *, is_https: bool = False) -> bool | None:
        """Begins a session if the password is right; None after too many wrong tries."""
        with self._trying:
            now = time.monotonic()
            while self._tries and now - self._tries[0] > _TRIES_SECONDS:
                self._tries.popleft()
            if len(self._tries) >= _TRIES:
                return None
            if not matches(password, self._hash):
                self._tries.append(now)
                self.refused += 1
                return False
        token = secrets.token_urlsafe(32)
        with self._lock:
            going_on = {key: at for key, at in self._sessions.items() if _seconds_since(at) < SESSION_SECONDS}
            self._sessions = dict([*going_on.items()][1 - _MAX_SESSIONS :])
            self._sessions[_digest(token)] = _clocks()
        _set_cookie(response, _SECURE_COOKIE if is_https else _COOKIE, token, SESSION_SECONDS)
        return True

    def log_out(self, request: Request, response: Response) -> None:
        """Ends the session, here and in the browser."""
        with self._lock:
            for digest in _digests(request):
                self._sessions.pop(digest, None)
        for name in {_SECURE_COOKIE, _COOKIE} & request.cookies.keys():
            _set_cookie(response, name, "", 0)


class Links:
    """Links that show one face to anybody for a while, where the store's own links do not help."""

    def __init__(self, secret: str) -> None:
        self._secret = hmac.digest(secret.encode(), b"links of cloud_gallery", "sha256")

    def signature(self, key: str, until: int) -> str:
        return hmac.digest(self._secret, f"{until}\n{key}".encode(), "sha256").hex()

    def is_valid(self, key: str, until: str, signature: str) -> bool:
        if not re.fullmatch(r"\d{1,12}", until, re.ASCII) or int(until) < time.time():
            return False
        return hmac.compare_digest(self.signature(key, int(until)).encode(), signature.encode())


def _clocks() -> tuple[float, ...]:
    """The monotonic clock stands still while a machine sleeps, the wall clock jumps. Only Linux has the third."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic(), time.time(), *([] if boot is None else [time.clock_gettime(boot)]))


def _seconds_since(then: tuple[float, ...]) -> float:
    """By the clock that went furthest: a clock that stood still must not prolong a session."""
    return max(now - before for now, before in zip(_clocks(), then, strict=True))


def _digests(request: Request) -> list[bytes]:
    return [_digest(request.cookies[name]) for name in (_SECURE_COOKIE, _COOKIE) if name in request.cookies]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    is_secure = name == _SECURE_COOKIE
    response.set_cookie(name, value, max_age=seconds, path="/", secure=is_secure, httponly=True, samesite="lax")
