"""Faces in the bucket, the newest first. The keys are made for listing: there is no other index."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple, TypeVar, cast

from object_store.bucket import Bucket
from object_store.listing import folders as folders_in

UNATTRIBUTED = "faces/unattributed/"

# As `object_store.keys` makes them. A dot never begins a name, and never follows another.
_NAME = r"(?!\.)(?:[A-Za-z0-9_~%-]|\.(?![./])){1,128}"
_DAY = r"\d{4}/\d\d/\d\d/"
_FOLDER = re.compile(rf"faces/(?:unattributed|{_NAME}/{_NAME})/", re.ASCII)
_KEY = re.compile(
    rf"(?P<folder>faces/{_NAME}/{_NAME}/){_DAY}(?P<name>\d{{8}}T\d{{6}}\.\d{{6}}Z-{_NAME})"
    rf"|(?P<nobody>{UNATTRIBUTED}){_DAY}(?P<hash>[0-9a-f]{{64}}\.png)",
    re.ASCII,
)
#: Where in time a list begins: a name, or the beginning of one.
BOUND = re.compile(rf"\d{{8}}(?:T[0-9.]{{0,13}}(?:Z-{_NAME})?)?|\d{{8}}/[0-9a-f]{{0,64}}(?:\.png)?", re.ASCII)

_ATTRIBUTES = ("id", "source", "time", "frame", "framesize", "facebox", "score", "track", "identity")
_LIST = 1000
_CAMERAS_SECONDS = 30.0
# Long enough for the browser whose page is on its way, short enough for what is stored meanwhile to be told live.
_KEPT_SECONDS = 1.0
# What part of a day is listed at first, how that grows and shrinks where there is little or much, and down to what.
_FIRST, _FACTOR, _LEAST = 1 / 144, 16, 1e-9
# Objects a part should have, to fit one answer, and how many are listed; where there are more, a smaller one will do.
_WANTED, _ENOUGH = 500, 2000

T = TypeVar("T")


class Face(NamedTuple):
    """An object in the bucket. Faces of all cameras sort by `name`, which begins with the time."""

    name: str
    key: str


class _Kept:
    """Answers, for who asks the same at the same time or soon after. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[Hashable, tuple[float, Future[object]]] = {}

    def get(self, question: Hashable, answer: Callable[[], T]) -> T:
        """What `answer` brings; an error is for those alone who wait for it."""
        now = time.monotonic()
        with self._lock:
            for each in [each for each, (until, _) in self._answers.items() if until < now]:
                del self._answers[each]
            _, future = self._answers.get(question, (0.0, None))
            if is_first := future is None:
                future = Future()
                self._answers[question] = (math.inf, future)
        if is_first:
            until = 0.0
            try:
                future.set_result(answer())
                until = time.monotonic() + _KEPT_SECONDS
            except BaseException as error:
                future.set_exception(error)
                raise
            finally:
                with self._lock:
                    self._answers[question] = (until, future)
        return cast("T", future.result())


class History:
    """Reads the bucket, with a few requests at the same time. Safe to use from many threads."""

    def __init__(self, store: Bucket) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="list")
        self._kept = _Kept()
        # What part of a day had as much as is wanted when it was last asked, by camera.
        self._sizes: dict[str, float] = {}
        self._cameras: list[str] = []
        self._cameras_until = 0.0

    def cameras(self, *, fresh: bool = False) -> list[str]:
        """The folders of all cameras there are, and of what has no sender, as they begin keys.

        Without `fresh`, those of half a minute ago and what was learnt since.

        Raises:
            StoreError: the bucket cannot be listed. So do all others.

        """
        if fresh or not self._cameras or time.monotonic() > self._cameras_until:
            self._cameras = self._kept.get("cameras", self._all_cameras)
            self._cameras_until = time.monotonic() + _CAMERAS_SECONDS
        return self._cameras

    def _all_cameras(self) -> list[str]:
        edges = [f"faces/{name}/" for name in folders_in(self._store, "faces/")]
        found = self._pool.map(self._cameras_of, edges)
        return [folder for folders in found for folder in folders if _FOLDER.fullmatch(folder)]

    def learn(self, key: str) -> None:
        """Takes note that there is this face, and so its camera."""
        folder = folder_of(key)
        if folder and folder not in self._cameras:
            self._cameras = [*self._cameras, folder]

    def _cameras_of(self, edge: str) -> list[str]:
        if edge == UNATTRIBUTED:
            return [edge]
        return [f"{edge}{name}/" for name in folders_in(self._store, edge)]

    def days(self, folders: Sequence[str]) -> list[str]:
        """The days on which there is something, the last first, as `2026/05/01`."""
        found = self._pool.map(lambda folder: list(self._days(folder, "9")), folders)
        return sorted({day for days in found for day in days}, reverse=True)

    def older(self, folders: Sequence[str], *, before: str, count: int) -> list[Face]:
        """So many faces, the newest first, whose names are less than `before`, if there is one.

        Who asks the same within a second gets the same.
        """
        return self._kept.get((*folders, before, count), lambda: self._older_of(folders, before, count))

    def _older_of(self, folders: Sequence[str], before: str, count: int) -> list[Face]:
        def begun(folder: str) -> Iterator[Face]:
            # The first list of each camera is asked for at the same time, what follows when it is needed.
            faces = self._older(folder, before)
            return chain(list(islice(faces, 1)), faces)

        return list(islice(merge(*self._pool.map(begun, folders), key=itemgetter(0), reverse=True), count))

    def tracks(self, keys: Sequence[str]) -> dict[str, str]:
        """The track of each face that has one."""
        found = zip(keys, self._pool.map(self.attributes, keys), strict=True)
        return {key: about["track"] for key, about in found if about and about.get("track")}

    def attributes(self, key: str) -> dict[str, str] | None:
        """What the event said of a face, as text, and the `bytes` it has; None where there is no such face."""
        found = self._store.read(key, only_head=True)
        if found is None:
            return None
        about = {name: found.metadata.get(name, "") for name in _ATTRIBUTES}
        return {name: value for name, value in about.items() if value} | {"bytes": str(found.bytes)}

    def _days(self, folder: str, latest: str) -> Iterator[str]:
        def below(path: str) -> list[str]:
            names = [name for name in folders_in(self._store, folder + path) if name.isdecimal()]
            return sorted((path + name for name in names), reverse=True)

        for year in below(""):
            for month in below(f"{year}/") if year <= latest else ():
                yield from (day for day in (below(f"{month}/") if month <= latest else ()) if day <= latest)

    def _older(self, folder: str, before: str) -> Iterator[Face]:
        latest = f"{before[:4]}/{before[4:6]}/{before[6:8]}" if before else "9"
        for day in self._days(folder, latest):
            yield from self._older_of_day(f"{folder}{day}/", before if day == latest else "")

    def _older_of_day(self, prefix: str, before: str) -> Iterator[Face]:
        """S3 lists forwards only, so pieces of the day are listed, from the last on, of a size that fits one answer."""
        is_face = not prefix.startswith(UNATTRIBUTED)
        if is_face and "/" in before:
            return  # what has no time comes behind all that has one
        day = prefix[-11:-1].replace("/", "")
        high, bound = 1.0, f"{day}~"
        if before:
            bound = before
            high = _part_of_day(before) if is_face else _part_of_hashes(before)
        camera = prefix[: -len("2026/05/01/")]
        size = self._sizes.get(camera, _FIRST)
        while high > 0:
            low = max(0.0, high - size)
            mark = (_moment(day, low) if is_face else f"{int(low * 16**8):08x}") if low else ""
            page, there_is_more = self._page(prefix, mark)
            while there_is_more and page[-1].name < bound and (len(page) < _ENOUGH or size <= _LEAST):
                more, there_is_more = self._page(prefix, page[-1].key.removeprefix(prefix))
                page += more
            if there_is_more and page[-1].name < bound:
                size /= _FACTOR
                continue
            found = [face for face in page if face.name < bound]
            size *= min(_FACTOR, _WANTED / max(1, len(found)))
            if found:
                self._sizes[camera] = max(_LEAST, size)
            yield from reversed(found)
            high = low
            # A part is of whole seconds at its end, and may lie behind `before` as a whole.
            bound = min(bound, mark if is_face else f"{day}/{mark}")

    def _page(self, prefix: str, after: str) -> tuple[list[Face], bool]:
        page = self._store.ask("list_objects_v2", Prefix=prefix, MaxKeys=_LIST, StartAfter=prefix + after)
        keys = [item.get("Key", "") for item in page.get("Contents", ())]
        found = [Face(name, key) for key in keys if (name := name_of(key)) and key > prefix + after]
        return sorted(found), page.get("IsTruncated", False) and bool(found)


def name_of(key: str) -> str:
    """By which a face sorts among all; empty for what is no key of a face."""
    if not (match := _KEY.fullmatch(key)):
        return ""
    return match["name"] or f"{key[-79:-69].replace('/', '')}/{match['hash']}"


def folder_of(key: str) -> str:
    match = _KEY.fullmatch(key)
    return (match["folder"] or match["nobody"]) if match else ""


def _moment(day: str, part: float) -> str:
    seconds, micros = divmod(int(part * 86_400_000_000), 1_000_000)
    return f"{day}T{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.{micros:06}"


def _part_of_day(name: str) -> float:
    digits = name[9:15].ljust(6, "0")
    hours, minutes, seconds = (int(digits[i : i + 2]) if digits[i : i + 2].isdecimal() else 0 for i in (0, 2, 4))
    # To the end of that second.
    return min(1.0, (hours * 3600 + minutes * 60 + seconds + 1) / 86400)


def _part_of_hashes(name: str) -> float:
    _, slash, digits = name.partition("/")
    if not slash:
        return 1.0 if "T" in name else 0.0
    return min(1.0, (int(digits[:8].ljust(8, "f"), 16) + 1) / 16**8) if digits else 0.0
