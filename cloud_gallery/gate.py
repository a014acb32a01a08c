"""What every request passes before it is answered."""

import logging
import re
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_gallery.access import Access
from cloud_gallery.settings import GallerySettings, origin_of
from face_messages.message import printable

log = logging.getLogger(__name__)

# Strangers get the way in, and links that somebody gave them.
_OPEN = frozenset({"/login", "/gallery.css", "/shared"})
_LOCAL = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer, browsers would send a login's Origin as null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """Refuses other sites' requests and people without a session; adds the headers."""

    def __init__(self, app: ASGIApp, access: Access, settings: GallerySettings) -> None:
        self._app = app
        self._access = access
        self._origins = [origin_of(url) for url in settings.urls]
        self._folders = {path for url in settings.urls if (path := urlsplit(url).path)}
        self._told = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        # Some proxies leave the folder of GALLERY_URL in the path, others take it out.
        for folder in self._folders:
            if scope["path"].startswith(f"{folder}/"):
                scope = {**scope, "path": scope["path"].removeprefix(folder)}
        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if request.url.path in self._folders:
            return RedirectResponse(request.url.path.rpartition("/")[2] + "/", HTTPStatus.PERMANENT_REDIRECT)
        host, origin = request.headers.get("host", ""), origin_of(request.headers.get("origin", ""))
        is_known = is_local(request) or any(_is_at(own, host) for own in self._origins)
        # Another site's name can be made to lead here (DNS rebinding). With a password, that site has no session.
        if not is_known and not self._access.needs_password:
            text = "The gallery answers under localhost, and under the name that GALLERY_URL gives it.\n"
            return PlainTextResponse(text, HTTPStatus.MISDIRECTED_REQUEST)
        # A browser says which site's page sends a POST. A script cannot change that.
        is_own = origin in self._origins or ((is_known or not self._origins) and _is_at(origin, host))
        if request.method == "POST" and not is_own:
            is_asked_elsewhere = self._origins and not is_known
            status = HTTPStatus.MISDIRECTED_REQUEST if is_asked_elsewhere else HTTPStatus.FORBIDDEN
            return PlainTextResponse(self._say_foreign(request), status)
        if request.url.path in _OPEN or self._access.may_look(request):
            return None
        if request.url.path == "/":
            return RedirectResponse("login", HTTPStatus.SEE_OTHER)
        return JSONResponse({"error": "Your session has ended."}, HTTPStatus.UNAUTHORIZED)

    def _say_foreign(self, request: Request) -> str:
        origin, host = (printable(request.headers.get(name, ""))[:200] for name in ("origin", "host"))
        known = f"GALLERY_URL is {', '.join(self._origins)}" if self._origins else "GALLERY_URL is not set"
        text = f"it came from a page of {origin or 'no site'} (header Origin) to {host} (header Host), and {known}"
        text = f"{text}: if it is your own page behind a proxy, set GALLERY_URL to the address that the browser shows"
        if text != self._told:
            self._told = text
            log.warning("POST refused: %s", text)
        return f"Refused: {text}.\n"


def is_local(request: Request) -> bool:
    """Whether it asks for this machine by one of the machine's own names."""
    return _LOCAL.fullmatch(request.headers.get("host", "")) is not None


def _is_at(origin: str, host: str) -> bool:
    """Whether a request to an origin's own server has this header Host."""
    return origin != "" and origin_of(f"{urlsplit(origin).scheme}://{host}") == origin
