"""The same walks with fewer frames a second: are people found as well, and does each keep one track?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dev.bench.detecting import make_finder
from dev.bench.measure import Table
from dev.bench.walks import IOU, RATE, SIZE, Walk
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.sources.frame import Frame

__all__ = ["run"]

# One frame in so many is shown.
_STEPS = (1, 3, 6)
_NAMES = ("haar", "yunet")


def run(walks: Sequence[Walk], half: str) -> Table:
    """Raises BenchmarkError."""
    rows = [[f"DETECTOR={name}", f"{RATE // step}", *_judge(name, step, walks)] for name in _NAMES for step in _STEPS]
    about = (
        f"Half {half!r}: the {len(walks)} walks. Recall of the frames that are in focus and whole; people found, and"
        " the tracks that they had."
    )
    return Table("Few frames a second", about, ["", "frames/s", "recall", "people found", "tracks"], rows)


def _judge(name: str, step: int, walks: Sequence[Walk]) -> list[str]:
    finder = make_finder(name)
    hits = shown = people = tracks = 0
    for walk in walks:
        tracker, numbers = Tracker(finder), set[int]()
        for number in range(0, len(walk.images), step):
            moment, frame = walk.moments[number], Frame(walk.images[number], number, datetime.now(UTC), number / RATE)
            place = moment.box.inside(SIZE)
            found = {face.track for face in tracker.faces(frame) if face.box.iou(place) >= IOU}
            numbers |= found
            if moment.is_good:
                shown += 1
                hits += bool(found)
        people += bool(numbers)
        tracks += len(numbers)
    return [f"{hits / max(1, shown):.3f}", str(people), str(tracks)]
