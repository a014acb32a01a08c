"""Faces in the bucket. The keys are made for listing: there is no other index."""

import math
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import chain, islice
from operator import attrgetter
from typing import Any, TypeVar, cast

from cloud_gallery.faces import FOLDER, UNATTRIBUTED, Face, by_arrival, folder_of, name_of
from object_store.errors import StoreError
from object_store.listing import folders as folders_in
from object_store.readable import ReadableBucket

_ATTRIBUTES = ("id", "source", "time", "frame", "framesize", "facebox", "score", "track", "identity")
_LIST = 1000
_CAMERAS_SECONDS = 30.0
# Long enough for a browser whose page is loading. The page asks again after longer than that (AGAIN in feed.js).
_KEPT_SECONDS = 1.0
# The part of a day that is listed at first, in seconds; the factor by which it grows and shrinks; its least size.
_DAY_SECONDS, _FIRST, _FACTOR, _LEAST = 86_400.0, 600.0, 16, 1e-4
# Objects that a part should have, to fit one answer; a part with more than the second number is made smaller.
_WANTED, _ENOUGH = 500, 2000
# Faces that are looked at beyond those that are wanted, since the store's order and that of arrival differ a little.
_SPARE = 15

T = TypeVar("T")
_stored = attrgetter("stored", "name")


class History:
    """Reads the bucket, with a few requests at the same time. Safe to use from many threads.

    Every method raises StoreError where the bucket cannot be read.
    """

    def __init__(self, store: ReadableBucket) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="list")
        self._lock = threading.Lock()
        # By question: until when the answer is kept, and the answer.
        self._answers: dict[Hashable, tuple[float, Future[Any]]] = {}
        # By camera: the seconds of a day that had as many objects as wanted.
        self._sizes: dict[str, float] = {}
        self._cameras: list[str] = []
        self._cameras_until = 0.0

    def cameras(self, *, fresh: bool = False) -> list[str]:
        """The folders of all cameras, and of pictures without a sender.

        Without `fresh`, they may be half a minute old, or older while the store is away; cameras that were learnt since
        are among them.
        """
        if fresh or not self._cameras or time.monotonic() > self._cameras_until:
            try:
                self._cameras = self._once("cameras", self._all_cameras)
                self._cameras_until = time.monotonic() + _CAMERAS_SECONDS
            except StoreError:
                if fresh or not self._cameras:
                    raise
        return self._cameras

    def learn(self, key: str) -> None:
        """Adds the camera of a face."""
        folder = folder_of(key)
        if folder and folder not in self._cameras:
            self._cameras = [*self._cameras, folder]

    def days(self, folders: Sequence[str]) -> list[str]:
        """The days on which there are faces, the last first, as `2026/05/01`."""
        found = self._pool.map(lambda folder: list(self._days(folder)), folders)
        return sorted({day for days in found for day in days}, reverse=True)

    def older(self, folders: Sequence[str], *, before: str, count: int) -> list[Face]:
        """Up to `count` faces by the cameras' time, the newest first; with names less than `before`, unless empty."""

        def listed() -> list[Face]:
            streams = self._pool.map(lambda folder: _begun(self._older(folder, before)), folders)
            return list(islice(merge(*streams, key=attrgetter("name"), reverse=True), count))

        return self._once((*folders, before, count), listed)

    def newest(self, folders: Sequence[str], *, count: int, moments: Mapping[str, str]) -> list[Face]:
        """Up to `count` faces in the order of arrival, the last first, whatever the cameras' clocks say.

        Each camera is read from up to three places on: its last day; today, where its last days are ahead of our clock;
        and its moment in `moments`, the last name that is known. Of each the faces are taken in their order.
        """

        def listed() -> list[Face]:
            streams = self._pool.map(lambda folder: self._arrivals(folder, moments.get(folder, "")), folders)
            return by_arrival(islice(merge(*chain(*streams), key=_stored, reverse=True), count + _SPARE))[:count]

        return self._once(("newest", *folders, count), listed)

    def tracks(self, keys: Sequence[str]) -> dict[str, str]:
        """The track of each face that has one."""
        found = zip(keys, self._pool.map(self.attributes, keys), strict=True)
        return {key: about["track"] for key, about in found if about and about.get("track")}

    def attributes(self, key: str) -> dict[str, str] | None:
        """The event's attributes, as text, and the object's `bytes`; None where there is no such face."""
        found = self._store.read(key, only_head=True)
        if found is None:
            return None
        about = {name: found.metadata.get(name, "") for name in _ATTRIBUTES}
        about |= {"bytes": str(found.bytes), "archived": found.storage_class if found.archived else ""}
        return {name: value for name, value in about.items() if value}

    def _once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """One answer for all who ask the same at the same time or soon after. An error goes to those who wait."""
        with self._lock:
            now = time.monotonic()
            self._answers = {key: kept for key, kept in self._answers.items() if kept[0] >= now}
            is_first = question not in self._answers
            _, future = self._answers.setdefault(question, (math.inf, Future()))
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

    def _all_cameras(self) -> list[str]:
        def cameras_of(edge: str) -> list[str]:
            return [edge] if edge == UNATTRIBUTED else [f"{edge}{name}/" for name in folders_in(self._store, edge)]

        edges = [f"faces/{name}/" for name in folders_in(self._store, "faces/")]
        found = self._pool.map(cameras_of, edges)
        return [folder for folders in found for folder in folders if FOLDER.fullmatch(folder)]

    def _days(self, folder: str, latest: str = "9") -> Iterator[str]:
        def below(path: str) -> list[str]:
            names = [name for name in folders_in(self._store, folder + path) if name.isdecimal()]
            return sorted((path + name for name in names), reverse=True)

        for year in below(""):
            for month in below(f"{year}/") if year <= latest else ():
                yield from (day for day in (below(f"{month}/") if month <= latest else ()) if day <= latest)

    def _older(self, folder: str, before: str) -> Iterator[Face]:
        latest = f"{before[:4]}/{before[4:6]}/{before[6:8]}" if before else "9"
        for day in self._days(folder, latest):
            for part in self._parts(f"{folder}{day}/", before if day == latest else ""):
                yield from reversed(part)

    def _arrivals(self, folder: str, moment: str) -> list[Iterator[Face]]:
        """See `newest`. A camera's clock may have been ahead, and be right now: then its last days are old."""

        def of(days: Iterable[str], before: str = "") -> Iterator[Face]:
            for day in days:
                for part in self._parts(f"{folder}{day}/", before):
                    yield from sorted(part, key=_stored, reverse=True)

        tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y/%m/%d}"
        days, ahead = self._days(folder), list[str]()
        while (begins := next(days, "")) > tomorrow:
            ahead.append(begins)
        streams = [of(ahead), of(chain([begins] if begins else [], days))]
        day = f"{moment[:4]}/{moment[4:6]}/{moment[6:8]}"
        if moment and day not in (*ahead[:1], begins):
            streams.append(of([day], f"{moment}~"))
        return [_begun(stream) for stream in streams]

    def _parts(self, prefix: str, before: str) -> Iterator[list[Face]]:
        """A day's faces, the last part first, each part in the order of its names.

        S3 lists forwards only. So parts of the day are listed, of a size that fits one answer. Pictures without a
        sender have no time, and are one part.
        """
        day, camera = prefix[-11:-1].replace("/", ""), prefix[: -len("2026/05/01/")]
        has_time = camera != UNATTRIBUTED
        high, bound = _second_of(before) if has_time else _DAY_SECONDS, before or f"{day}~"
        size = self._sizes.get(camera, _FIRST) if has_time else _DAY_SECONDS
        while high > 0:
            low = max(0.0, high - size)
            mark = f"{day}T{_clock(low)}" if low else ""
            page, there_is_more = self._page(prefix, mark)
            while there_is_more and page[-1].name < bound and (len(page) < _ENOUGH or size <= _LEAST or not has_time):
                more, there_is_more = self._page(prefix, page[-1].key.removeprefix(prefix))
                page += more
            if there_is_more and page[-1].name < bound:
                size /= _FACTOR
                continue
            found = [face for face in page if face.name < bound]
            size *= min(_FACTOR, _WANTED / max(1, len(found)))
            if found:
                self._sizes[camera] = max(_LEAST, size)
            yield found
            # A part ends at a whole second, which may lie behind `before`.
            high, bound = low, min(bound, mark)

    def _page(self, prefix: str, after: str) -> tuple[list[Face], bool]:
        page = self._store.ask("list_objects_v2", Prefix=prefix, MaxKeys=_LIST, StartAfter=prefix + after)
        listed = ((item.get("Key", ""), str(item.get("LastModified", ""))) for item in page.get("Contents", ()))
        found = [Face(name, key, at) for key, at in listed if (name := name_of(key)) and key > prefix + after]
        return sorted(found), page.get("IsTruncated", False) and bool(found)


def _begun(faces: Iterator[Face]) -> Iterator[Face]:
    """The same faces; the first is asked for now, so that many cameras are asked at the same time."""
    return chain(list(islice(faces, 1)), faces)


def _clock(second: float) -> str:
    whole = int(second)
    return f"{whole // 3600:02}{whole // 60 % 60:02}{whole % 60:02}.{int(second % 1 * 1e6):06}"


def _second_of(before: str) -> float:
    """The end of the second of the day that a bound names; 0 for that of a picture without a time."""
    if not before:
        return _DAY_SECONDS
    digits = re.sub(r"\D", "0", before[9:15]).ljust(6, "0")
    second = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:]) + 1
    return 0.0 if "/" in before else min(_DAY_SECONDS, second)
