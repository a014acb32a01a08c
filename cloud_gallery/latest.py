"""The newest faces at once: a list that was made a while ago, and what was told since."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cloud_gallery.history import Face, History, folder_of

# How long a list is good for a first view. What was erased meanwhile is in it, without a picture.
_SECONDS = 600.0
# What is told of a face and the list that has it may cross; in seconds.
_CROSSING = 10.0
_MAX_LISTS, _MAX_NEWS = 50, 5000


class _List(NamedTuple):
    at: float
    live: int
    faces: list[Face]


class Latest:
    """Safe to use from many threads.

    Args:
        history: of the bucket.
        live: tells one connection to the broker from the next; None while there is none.

    """

    def __init__(self, history: History, live: Callable[[], int | None]) -> None:
        self._history = history
        self._live = live
        self._lists: dict[tuple[Sequence[str], int], _List] = {}
        self._news: deque[tuple[float, Face]] = deque(maxlen=_MAX_NEWS)
        self._lock = threading.Lock()

    def hear(self, face: Face) -> None:
        """Takes note of a face that was stored a moment ago."""
        with self._lock:
            self._news.append((time.monotonic(), face))

    def known(self, folders: Sequence[str], count: int) -> list[Face]:
        """So many, the newest first, without asking the store where all that came since it was asked was told of.

        Raises:
            StoreError: it had to be asked, and cannot be listed.

        """
        with self._lock:
            kept = self._lists.get((tuple(folders), count))
            news = list(self._news)
        # Where there are few, the store tells them soon.
        if kept is None or len(kept.faces) < count:
            return self.listed(folders, count)
        if kept.live != self._live() or time.monotonic() > kept.at + _SECONDS:
            return self.listed(folders, count)
        since = kept.at - _CROSSING
        if len(news) == _MAX_NEWS and news[0][0] > since:
            return self.listed(folders, count)
        told = {face for at, face in news if at > since and folder_of(face.key) in folders}
        return sorted({*kept.faces, *told}, reverse=True)[:count]

    def listed(self, folders: Sequence[str], count: int) -> list[Face]:
        """The same, as the store tells it now.

        Raises:
            StoreError: it cannot be listed.

        """
        at, live = time.monotonic(), self._live()
        faces = self._history.older(folders, before="", count=count)
        with self._lock:
            if len(self._lists) >= _MAX_LISTS:
                self._lists.clear()
            if live is not None:
                self._lists[tuple(folders), count] = _List(at, live, faces)
        return faces
