"""Counts and latencies of the faces in the bucket, and tables of figures."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dev.stack.pictures import END, SIGNATURE

_FACE_KEY = re.compile(r"faces/[^/]+/[^/]+/\d{4}/\d\d/\d\d/(?P<time>\d{8}T\d{6}\.\d{6})Z-(?P<id>.+)\.png")


@dataclass(frozen=True, slots=True)
class StoredFace:
    """An object in the bucket, by its key and its file."""

    id: str
    captured_at: float
    stored_at: float
    """Seconds since 1970, both by this machine's clock."""

    @property
    def latency_seconds(self) -> float:
        return self.stored_at - self.captured_at


def stored_faces(objects: Mapping[str, Path]) -> list[StoredFace]:
    """The face objects; latency is from the capture, in the key, to the file's time of modification."""
    faces = []
    for key, file in objects.items():
        if match := _FACE_KEY.fullmatch(key):
            captured = datetime.strptime(f"{match['time']}+0000", "%Y%m%dT%H%M%S.%f%z").timestamp()
            faces.append(StoredFace(match["id"], captured, file.stat().st_mtime))
    return faces


def differences(published: Iterable[str], objects: Mapping[str, Path]) -> list[str]:
    """A line for each kind of fault; none when the bucket holds each published id exactly once, as a whole PNG."""
    stored = Counter(face.id for face in stored_faces(objects))
    wanted = set(published)
    twice = [id_ for id_, count in stored.items() if count > 1]
    foreign = [key for key in objects if not _FACE_KEY.fullmatch(key)]
    contents = ((key, file.read_bytes()) for key, file in objects.items())
    broken = [key for key, content in contents if not (content.startswith(SIGNATURE) and content.endswith(END))]
    found = {
        "published, but not stored": sorted(wanted - stored.keys()),
        "stored, but never published": sorted(stored.keys() - wanted),
        "stored twice": sorted(twice),
        "stored under a key that is no face's": foreign,
        "stored, but no whole PNG": broken,
    }
    return [f"{len(these)} {what}, such as {these[0]}" for what, these in found.items() if these]


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """A table in Markdown; `about` tells how it was measured."""

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        lines = [self.header, ["---", *("---:" for _ in self.header[1:])], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "".join(f"\n* {note}" for note in self.notes)
        return f"## {self.title}\n\n{self.about}\n\n{table}\n{notes}".rstrip("\n")
