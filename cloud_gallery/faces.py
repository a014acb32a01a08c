"""What a face's key says, and in which order faces are shown."""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

UNATTRIBUTED = "faces/unattributed/"

# As `object_store.keys` makes them. A dot never begins a name, and never follows another.
_NAME = r"(?!\.)(?:[A-Za-z0-9_~%-]|\.(?![./])){1,128}"
_DAY = r"\d{4}/\d\d/\d\d/"
FOLDER = re.compile(rf"faces/(?:unattributed|{_NAME}/{_NAME})/", re.ASCII)
_KEY = re.compile(
    rf"(?P<folder>faces/{_NAME}/{_NAME}/){_DAY}(?P<name>\d{{8}}T\d{{6}}\.\d{{6}}Z-{_NAME})"
    rf"|(?P<nobody>{UNATTRIBUTED}){_DAY}(?P<hash>[0-9a-f]{{64}}\.png)",
    re.ASCII,
)
#: Where a list may begin: at a name, or at the beginning of one.
BOUND = re.compile(rf"\d{{8}}(?:T[0-9.]{{0,13}}(?:Z-{_NAME})?)?|\d{{8}}/[0-9a-f]{{0,64}}(?:\.png)?", re.ASCII)

_PARALLEL_SECONDS = 30.0


class Face(NamedTuple):
    """An object in the bucket.

    Faces of all cameras sort by `name`, which begins with the camera's time. `stored` is the store's time (RFC 3339),
    or empty where it is not known.
    """

    name: str
    key: str
    stored: str = ""


def by_arrival(faces: Iterable[Face]) -> list[Face]:
    """In the order of arrival, the last first, each once.

    Savers write in parallel. So among the faces of a camera's day that arrived in half a minute, their names count.
    """
    found = {face.key: face for face in faces}.values()
    times = {face: _seconds(face.stored) for face in found}
    last = max(times.values(), default=0.0)
    together: dict[tuple[str, str, int], list[Face]] = defaultdict(list)
    for face in found:
        together[folder_of(face.key), face.name[:8], int((last - times[face]) / _PARALLEL_SECONDS)].append(face)
    placed = [
        (at, face)
        for group in together.values()
        for at, face in zip(sorted(times[face] for face in group), sorted(group), strict=True)
    ]
    return [face for _, face in sorted(placed, reverse=True)]


def _seconds(stored: str) -> float:
    try:
        return datetime.fromisoformat(stored).timestamp()
    except (ValueError, OverflowError):
        return 0.0  # not all stores tell it, or as they should


def name_of(key: str) -> str:
    """By which a face sorts among all; empty for a key of anything else."""
    if not (match := _KEY.fullmatch(key)):
        return ""
    return match["name"] or f"{key[-79:-69].replace('/', '')}/{match['hash']}"


def folder_of(key: str) -> str:
    match = _KEY.fullmatch(key)
    return (match["folder"] or match["nobody"]) if match else ""
