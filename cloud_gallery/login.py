"""The page's own files, and the way in and out."""

import asyncio
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cloud_gallery.access import Access

_MAX_FORM, _FORM_SECONDS = 8 * 1024, 5.0
_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def routes_of(access: Access) -> list[Route]:
    """The routes of the page's files, and those that begin and end a session."""
    own = [path.name for path in _PAGE.iterdir() if path.suffix in (".css", ".js")]
    return [
        *(Route(f"/{name}", partial(_own, name)) for name in own),
        Route("/login", partial(_own, "login.html")),
        Route("/login", partial(_log_in, access), methods=["POST"]),
        Route("/logout", partial(_log_out, access), methods=["POST"]),
    ]


async def _log_in(access: Access, request: Request) -> Response:
    size = request.headers.get("content-length", "")
    if not size.isdecimal() or int(size[:9]) > _MAX_FORM:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            body = await request.body()
    except TimeoutError as error:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from error
    password = parse_qs(body.decode("ascii", "replace")).get("password", [""])[0]
    response = RedirectResponse("./", HTTPStatus.SEE_OTHER)
    is_https = request.headers.get("origin", "").lower().startswith("https:")
    let_in = await run_in_threadpool(access.log_in, password, response, is_https=is_https)
    if let_in:
        return response
    if let_in is None:
        wait = "Too many tries. Wait a minute, then try again."
        return own_file("login.html", HTTPStatus.TOO_MANY_REQUESTS, notice=wait)
    return own_file("login.html", HTTPStatus.FORBIDDEN, notice="That is not the password.")


async def _log_out(access: Access, request: Request) -> Response:
    response = RedirectResponse("login", HTTPStatus.SEE_OTHER)
    access.log_out(request, response)
    return response


async def _own(name: str, _request: Request) -> Response:
    return own_file(name)


def own_file(
    name: str, status: HTTPStatus = HTTPStatus.OK, *, notice: str = "", background: BackgroundTask | None = None
) -> Response:
    """One of the page's files; `notice` is a text of ours, never a stranger's."""
    path = _PAGE / name
    text = path.read_text().replace("<!-- notice -->", notice)
    return Response(text, status, media_type=_TYPES[path.suffix], background=background)
