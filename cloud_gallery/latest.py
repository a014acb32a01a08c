"""The last faces to arrive, at once: a list made a while ago, and the saver's announcements since."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from cloud_gallery.faces import Face, by_arrival, folder_of
from cloud_gallery.history import History
from object_store.errors import StoreError

# How long a list may serve a first view. It may hold faces that were erased meanwhile, without a picture.
_SECONDS = 600.0
# An announcement, and the list that has its face, may overtake each other by this many seconds.
_CROSSING = 10.0
_MAX_LISTS, _MAX_NEWS = 50, 5000


class Latest:
    """Safe to use from many threads. Where the store is asked, StoreError says that it cannot be listed.

    `live`: a number for the present connection to the broker; None while there is none. `moments`: by camera's folder,
    the time that the camera stamped on its last face, as in a name.
    """

    def __init__(
        self, history: History, live: Callable[[], int | None], moments: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._history = history
        self._live = live
        self._moments = moments
        self._heard: dict[str, str] = {}
        # By folders and count: when the list was made, during which connection, and the list.
        self._lists: dict[tuple[Sequence[str], int], tuple[float, int | None, list[Face]]] = {}
        self._news: deque[tuple[float, Face]] = deque(maxlen=_MAX_NEWS)
        self._lock = threading.Lock()

    def hear(self, face: Face) -> None:
        """Takes an announcement: the face was stored a moment ago."""
        stored = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        with self._lock:
            self._news.append((time.monotonic(), face._replace(stored=stored)))
            if (folder := folder_of(face.key)) in self._heard or len(self._heard) < _MAX_NEWS:
                self._heard[folder] = face.name

    def known(self, folders: Sequence[str], count: int) -> list[Face]:
        """Up to `count` faces, the last to arrive first. The store is asked only where announcements may be missing.

        What is known is better than nothing while the store is away; `listed` tells that.
        """
        with self._lock:
            at, live, faces = self._lists.get((tuple(folders), count), (0.0, None, []))
            news = list(self._news)
        since = at - _CROSSING
        is_old = time.monotonic() > at + _SECONDS or (len(news) == _MAX_NEWS and news[0][0] > since)
        told = [face for heard, face in news if heard > since and folder_of(face.key) in folders]
        # The store's own time of arrival counts where it is known.
        known = by_arrival([*told, *faces])[:count]
        # Where there are few faces, a list is quick.
        if len(faces) < count or is_old or live is None or live != self._live():
            try:
                return self.listed(folders, count)
            except StoreError:
                if not known:
                    raise
        return known

    def listed(self, folders: Sequence[str], count: int) -> list[Face]:
        """The same, as the store listed it at most a second ago."""
        at, live, moments = time.monotonic(), self._live(), {**self._moments(), **self._heard}
        faces = self._history.newest(folders, count=count, moments=moments)
        with self._lock:
            if len(self._lists) >= _MAX_LISTS:
                self._lists.clear()
            self._lists[tuple(folders), count] = at, live, faces
        return faces
