"""The page, and what it asks for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from cloud_gallery.access import Access, Links
from cloud_gallery.gate import Gate
from cloud_gallery.history import BOUND, Face, History, name_of
from cloud_gallery.latest import Latest
from cloud_gallery.live import MAX_VIEWERS, Hub
from object_store.bucket import Bucket
from object_store.errors import StoreError
from object_store.keys import PNG_SIGNATURE

log = logging.getLogger(__name__)

LINK_SECONDS = 3600
_COUNT, _MAX_COUNT = 120, 500
_MAX_TRACKS = 30
_MAX_FORM, _FORM_SECONDS = 8 * 1024, 5.0
_PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_OWN = ("gallery.css", "gallery.js", "faces.js", "health.js", "large.js")
_IMAGE_HEADERS = {
    # A key is of one picture for ever; but what was erased should not stay in browsers for as long.
    "Cache-Control": "private, max-age=86400, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class Pages:
    """Answers requests. What asks the store is called in threads."""

    def __init__(self, store: Bucket, hub: Hub, access: Access, links: Links) -> None:
        self._store = store
        self._history = History(store)
        self._latest = Latest(self._history, hub.live)
        hub.on_face, hub.on_live = self._learn, self._look_ahead
        self._hub = hub
        self._access = access
        self._links = links
        #: Why the store cannot be read at present, or None; and how often that was so since the start.
        self.trouble: StoreError | None = None
        self.failures = 0

    def app(self) -> ASGIApp:
        routes = [
            Route("/", self._page),
            *(Route(f"/{name}", partial(_own, name)) for name in _OWN),
            Route("/login", lambda _: _file("login.html")),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/logout", self._log_out, methods=["POST"]),
            Route("/events", self._events),
            Route("/api/cameras", self._asking(self._cameras)),
            Route("/api/days", self._asking(self._days)),
            Route("/api/faces", self._asking(self._faces)),
            Route("/api/tracks", self._asking(self._tracks)),
            Route("/api/face", self._asking(self._face)),
            Route("/image", self._asking(self._image)),
            Route("/shared", self._asking(self._shared)),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        return Gate(app, self._access)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._hub.run())
        yield
        task.cancel()

    def _asking(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An answer that needs the store, whose troubles are told, once in the log, and each time on the page."""

        async def answered(request: Request) -> Response:
            try:
                response = await run_in_threadpool(answer, request)
            except StoreError as error:
                self.failures += 1
                if self.trouble is None or self.trouble.problem is not error.problem:
                    log.warning("%s; it is asked again whenever somebody looks", error)
                self.trouble = error
                return JSONResponse({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
            if self.trouble is not None:
                self.trouble = None
                log.info("the store can be read again")
            return response

        return answered

    def _learn(self, face: Face) -> None:
        self._history.learn(face.key)
        self._latest.hear(face)

    def _look_ahead(self) -> None:
        # What a page asks for first; if there is trouble, it is told then.
        with contextlib.suppress(StoreError):
            self._latest.listed(self._folders("", fresh=True), _COUNT)

    async def _page(self, _request: Request) -> Response:
        return _file("gallery.html", background=BackgroundTask(self._look_ahead))

    def _cameras(self, _request: Request) -> Response:
        return JSONResponse({"cameras": self._history.cameras(fresh=True), "login": self._access.needs_password})

    def _days(self, request: Request) -> Response:
        return JSONResponse({"days": self._history.days(self._folders(_scope(request)))})

    def _faces(self, request: Request) -> Response:
        before, count = request.query_params.get("before", ""), request.query_params.get("count", str(_COUNT))
        if (before and not BOUND.fullmatch(before)) or not count.isdecimal():
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        fresh = "fresh" in request.query_params
        folders, most = self._folders(_scope(request), fresh=fresh), min(int(count[:4]), _MAX_COUNT)
        if before:
            found = self._history.older(folders, before=before, count=most)
        elif fresh:
            found = self._latest.listed(folders, most)
        else:
            found = self._latest.known(folders, most)
        return JSONResponse({"faces": [{"key": face.key, "name": face.name} for face in found]})

    def _folders(self, scope: str, *, fresh: bool = False) -> list[str]:
        """Those whose names begin so."""
        return [folder for folder in self._history.cameras(fresh=fresh) if folder.startswith(scope)]

    def _tracks(self, request: Request) -> Response:
        keys = [key for key in request.query_params.getlist("key")[:_MAX_TRACKS] if name_of(key)]
        return JSONResponse({"tracks": self._history.tracks(keys)})

    def _face(self, request: Request) -> Response:
        key = _key(request)
        about = self._history.attributes(key)
        if about is None:
            return JSONResponse({"error": "There is no such face: it may have been erased."}, HTTPStatus.NOT_FOUND)
        link = self._store.link(key, seconds=LINK_SECONDS)
        if link is None:
            until = int(time.time()) + LINK_SECONDS
            link = "/shared?" + urlencode({"key": key, "until": until, "signature": self._links.signature(key, until)})
        return JSONResponse({"attributes": about, "link": link})

    def _shared(self, request: Request) -> Response:
        key, until, signature = (request.query_params.get(name, "") for name in ("key", "until", "signature"))
        if not self._links.is_valid(key, until, signature):
            raise HTTPException(HTTPStatus.FORBIDDEN, "This link has ended. Ask for a new one.")
        return self._image(request)

    def _image(self, request: Request) -> Response:
        key = _key(request)
        answer = self._store.read(key)
        # What is no picture is not handed on, whatever its name says.
        if answer is None or not answer.body.startswith(PNG_SIGNATURE):
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such picture.")
        return Response(answer.body, media_type="image/png", headers=_IMAGE_HEADERS)

    async def _events(self, request: Request) -> Response:
        if self._hub.viewers >= MAX_VIEWERS:
            return PlainTextResponse(f"{MAX_VIEWERS} are looking already.\n", HTTPStatus.SERVICE_UNAVAILABLE)

        async def events() -> AsyncIterator[str]:
            async with contextlib.aclosing(self._hub.events()) as told:
                async for event in told:
                    if not self._access.may_look(request):
                        return  # the session has ended meanwhile
                    yield event

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _log_in(self, request: Request) -> Response:
        body = b""
        try:
            async with asyncio.timeout(_FORM_SECONDS):
                async for piece in request.stream():
                    body += piece
                    if len(body) > _MAX_FORM:
                        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from error
        password = parse_qs(body.decode("ascii", "replace")).get("password", [""])[0]
        response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        let_in = await run_in_threadpool(self._access.log_in, password, response)
        if let_in:
            return response
        if let_in is None:
            wait = "Too many tries. Wait a minute, then try again."
            return _file("login.html", HTTPStatus.TOO_MANY_REQUESTS, notice=wait)
        return _file("login.html", HTTPStatus.FORBIDDEN, notice="That is not the password.")

    async def _log_out(self, request: Request) -> Response:
        response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
        self._access.log_out(request, response)
        return response


def _key(request: Request) -> str:
    """The parameter `key`, if it is one of a face: nothing else in the bucket is anybody's to see here."""
    key = request.query_params.get("key", "")
    if not name_of(key):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such face.")
    return key


def _scope(request: Request) -> str:
    return request.query_params.get("in", "")


async def _own(name: str, _request: Request) -> Response:
    return _file(name)


def _file(
    name: str, status: HTTPStatus = HTTPStatus.OK, *, notice: str = "", background: BackgroundTask | None = None
) -> Response:
    """One of the page's own files; `notice` is a text of ours."""
    path = _PAGE / name
    text = path.read_text().replace("<!-- notice -->", notice)
    return Response(text, status, media_type=_TYPES[path.suffix], background=background)
