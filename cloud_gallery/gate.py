"""What every request passes before it is answered."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_gallery.access import Access

# What a stranger gets to see: the way in, and links that were given away.
_OPEN = frozenset({"/login", "/gallery.css", "/shared"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # no-referrer would hide from ourselves where a login comes from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """Lets in who may look, asks for nothing under another's name, and puts the headers on."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

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

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if not self._access.is_own_name(request):
            text = "The gallery answers under localhost, and under the name that GALLERY_URL gives it.\n"
            return PlainTextResponse(text, HTTPStatus.MISDIRECTED_REQUEST)
        if request.method == "POST" and not self._access.is_own_page(request):
            return PlainTextResponse("This was sent by another site's page.\n", HTTPStatus.FORBIDDEN)
        if request.url.path in _OPEN or self._access.may_look(request):
            return None
        if request.url.path == "/":
            return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        return JSONResponse({"error": "Your session has ended."}, HTTPStatus.UNAUTHORIZED)
