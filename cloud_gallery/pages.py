"""The page, and the answers to its requests."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cloud_gallery.access import Access, Links
from cloud_gallery.faces import BOUND, Face, name_of
from cloud_gallery.gate import Gate, is_local
from cloud_gallery.history import History
from cloud_gallery.latest import Latest
from cloud_gallery.live import MAX_VIEWERS, Hub
from cloud_gallery.login import own_file, routes_of
from cloud_gallery.settings import GallerySettings
from face_messages.event import PNG_SIGNATURE
from object_store.errors import ObjectArchivedError, ObjectError, StoreError
from object_store.readable import ReadableBucket

log = logging.getLogger(__name__)

LINK_SECONDS = 3600
_COUNT, _MAX_COUNT = 120, 500
_MAX_TRACKS = 30
_IMAGE_HEADERS = {
    # A key stands for one picture for ever. But browsers should not keep a picture for long that was erased.
    "Cache-Control": "private, max-age=86400, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
# nginx would hold events back until it has many.
_EVENT_HEADERS = {"X-Accel-Buffering": "no"}
_NO_FACE = "There is no such face: it may have been erased."


class Pages:
    """Answers requests. Answers that need the store are made in threads."""

    def __init__(self, settings: GallerySettings, store: ReadableBucket, hub: Hub, access: Access) -> None:
        self._settings = settings
        self._store = store
        self._history = History(store)
        self._latest = Latest(self._history, hub.live, hub.board.moments)
        hub.on_face, hub.on_live = self._learn, self._look_ahead
        self._hub = hub
        self._access = access
        secret = settings.cos_api_key_id or settings.cos_hmac_secret_access_key
        assert secret is not None
        self._links = Links(secret.get_secret_value())
        #: Why the store cannot be read at present, or None; and how often that was so since the start.
        self.trouble: StoreError | None = None
        self.failures = 0
        asking = {
            "/api/cameras": self._cameras,
            "/api/days": self._days,
            "/api/faces": self._faces,
            "/api/tracks": self._tracks,
            "/api/face": self._face,
            "/image": self._image,
            "/shared": self._shared,
        }
        routes = [
            Route("/", self._page),
            *routes_of(access),
            Route("/events", self._events),
            Route("/api/health", self._health),
            *(Route(path, self._asking(answer)) for path, answer in asking.items()),
        ]
        #: Answers, behind the gate.
        self.app = Gate(Starlette(routes=routes, lifespan=self._lifespan), access, settings)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._hub.run())
        yield
        task.cancel()

    def _asking(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An answer that needs the store. The page tells each trouble, the log its beginning and its end."""

        async def answered(request: Request) -> Response:
            try:
                response = await run_in_threadpool(answer, request)
            except ObjectError as error:
                # The store is well: it answers, and this object is the trouble.
                is_archived = isinstance(error, ObjectArchivedError)
                status = HTTPStatus.CONFLICT if is_archived else HTTPStatus.NOT_FOUND
                return JSONResponse({"error": str(error), "archived": is_archived}, status)
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
        # A page asks for this first. It tells the trouble if there is any.
        with contextlib.suppress(StoreError):
            self._latest.listed(self._folders("", fresh=True), _COUNT)

    async def _page(self, _request: Request) -> Response:
        return own_file("gallery.html", background=BackgroundTask(self._look_ahead))

    async def _health(self, _request: Request) -> Response:
        return JSONResponse(self._hub.health())

    def _cameras(self, _request: Request) -> Response:
        return JSONResponse({"cameras": self._history.cameras(fresh=True), "login": self._access.needs_password})

    def _days(self, request: Request) -> Response:
        return JSONResponse({"days": self._history.days(self._folders(request.query_params.get("in", "")))})

    def _faces(self, request: Request) -> Response:
        """With `before`, the faces before that moment by the cameras' time; else the last that arrived.

        Those may come from cameras with wrong clocks. So `before` of the answer is where a list by time goes on.
        """
        before, count = request.query_params.get("before", ""), request.query_params.get("count", str(_COUNT))
        if (before and not BOUND.fullmatch(before)) or not count.isdecimal():
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        fresh = "fresh" in request.query_params
        folders = self._folders(request.query_params.get("in", ""), fresh=fresh)
        most = min(int(count[:4]), _MAX_COUNT)
        if before:
            found = self._history.older(folders, before=before, count=most)
        elif fresh:
            found = self._latest.listed(folders, most)
        else:
            found = self._latest.known(folders, most)
        faces = [{"key": face.key, "name": face.name} for face in found]
        goes_on = faces[-1]["name"] if before and faces else f"{datetime.now(UTC) + timedelta(days=1):%Y%m%dT%H%M%S}"
        return JSONResponse({"faces": faces, "before": goes_on})

    def _folders(self, scope: str, *, fresh: bool = False) -> list[str]:
        """The folders that begin with `scope`."""
        return [folder for folder in self._history.cameras(fresh=fresh) if folder.startswith(scope)]

    def _tracks(self, request: Request) -> Response:
        keys = [key for key in request.query_params.getlist("key")[:_MAX_TRACKS] if name_of(key)]
        return JSONResponse({"tracks": self._history.tracks(keys)})

    def _face(self, request: Request) -> Response:
        key = _key(request)
        about = self._history.attributes(key)
        if about is None:
            return JSONResponse({"error": _NO_FACE}, HTTPStatus.NOT_FOUND)
        if kind := about.pop("archived", ""):
            why = f"The picture lies in the store's archive ({kind}). It can be seen after somebody restores it there."
            return JSONResponse({"attributes": about, "link": None, "archived": why})
        return JSONResponse({"attributes": about, "link": self._link(key, request)})

    def _link(self, key: str, request: Request) -> str:
        link = None
        if self._settings.browsers_reach_store(on_this_machine=is_local(request)):
            link = self._store.link(key, seconds=LINK_SECONDS)
        if link is None:
            until = int(time.time()) + LINK_SECONDS
            signed = urlencode({"key": key, "until": until, "signature": self._links.signature(key, until)})
            link = f"{[*self._settings.urls, ''][0]}/shared?{signed}"
        return link

    def _shared(self, request: Request) -> Response:
        key, until, signature = (request.query_params.get(name, "") for name in ("key", "until", "signature"))
        if not self._links.is_valid(key, until, signature):
            raise HTTPException(HTTPStatus.FORBIDDEN, "This link has ended. Ask for a new one.")
        return self._image(request)

    def _image(self, request: Request) -> Response:
        answer = self._store.read(_key(request))
        # Its name may lie: only pictures are served.
        if answer is None or not answer.body.startswith(PNG_SIGNATURE):
            return JSONResponse({"error": "There is no such picture."}, HTTPStatus.NOT_FOUND)
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

        return StreamingResponse(events(), media_type="text/event-stream", headers=_EVENT_HEADERS)


def _key(request: Request) -> str:
    """The parameter `key`, if it is a face's: the page shows nothing else of the bucket."""
    key = request.query_params.get("key", "")
    if not name_of(key):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such face.")
    return key
