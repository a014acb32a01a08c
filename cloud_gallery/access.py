"""Who may see the page: this machine, or whoever knows the password."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import deque
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from cloud_gallery.password import matches
from cloud_gallery.settings import GallerySettings

SESSION_SECONDS = 12 * 3600
_MAX_SESSIONS = 200
# Tries of a password, of all together: behind Docker and proxies all have one address. Sessions are not touched.
_TRIES, _TRIES_SECONDS = 10, 60.0

_LOCAL = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


class Access:
    """Passwords, sessions and where requests come from. Safe to use from many threads."""

    def __init__(self, settings: GallerySettings) -> None:
        password = settings.gallery_password
        self._hash = password.get_secret_value() if password else ""
        self._public_host = settings.public_host
        self._is_https = settings.gallery_url.startswith("https:")
        self._cookie = "__Host-session" if self._is_https else "session"
        self._lock = threading.Lock()
        # Of its own, since each try takes time and memory, on purpose: one after the other.
        self._trying = threading.Lock()
        self._sessions: dict[bytes, float] = {}
        self._tries: deque[float] = deque()
        #: Since the start.
        self.refused = 0

    @property
    def needs_password(self) -> bool:
        return bool(self._hash)

    def is_own_name(self, request: Request) -> bool:
        """Whether it was asked for under a name of its own; another site's may be made to lead here (DNS rebinding).

        With a password that site has no session, and a proxy may use any name.
        """
        host = request.headers.get("host", "")
        if self._public_host:
            return host == self._public_host or _LOCAL.fullmatch(host) is not None
        return self.needs_password or _LOCAL.fullmatch(host) is not None

    def is_own_page(self, request: Request) -> bool:
        """Whether a POST comes from a page of ours; a browser tells where from, and scripts cannot change that."""
        origin = request.headers.get("origin", "")
        return urlsplit(origin).netloc == request.headers.get("host", "") != ""

    def may_look(self, request: Request) -> bool:
        """Whether there is a session, or none is needed."""
        if not self.needs_password:
            return True
        with self._lock:
            return self._sessions.get(_digest(request.cookies.get(self._cookie, "")), 0.0) > time.monotonic()

    def log_in(self, password: str, response: Response) -> bool | None:
        """Begins a session if the password is right; None when too many have tried."""
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
            self._sessions = {known: end for known, end in self._sessions.items() if end > now}
            if len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[min(self._sessions, key=self._sessions.__getitem__)]
            self._sessions[_digest(token)] = now + SESSION_SECONDS
        self._set_cookie(response, token, SESSION_SECONDS)
        return True

    def log_out(self, request: Request, response: Response) -> None:
        """Ends the session, here and not only in the browser."""
        with self._lock:
            self._sessions.pop(_digest(request.cookies.get(self._cookie, "")), None)
        self._set_cookie(response, "", 0)

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            self._cookie, value, max_age=seconds, path="/", secure=self._is_https, httponly=True, samesite="lax"
        )


class Links:
    """Links that let anybody see one face for a while, for stores whose credentials sign none."""

    def __init__(self, secret: str) -> None:
        self._secret = hmac.digest(secret.encode(), b"links of cloud_gallery", "sha256")

    def signature(self, key: str, until: int) -> str:
        return hmac.digest(self._secret, f"{until}\n{key}".encode(), "sha256").hex()

    def is_valid(self, key: str, until: str, signature: str) -> bool:
        if not re.fullmatch(r"\d{1,12}", until, re.ASCII) or int(until) < time.time():
            return False
        return hmac.compare_digest(self.signature(key, int(until)).encode(), signature.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
