"""What is made of a walk: is the best picture of a track a good one, and is a person found by few frames a second?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dev.bench.detecting import frame, make_finder
from dev.bench.walks import FRAMES, IN_FOCUS, IOU, RATE, SIZE, Walk
from dev.stack.figures import Table
from edge_face_detection.faces.detector import Box
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.pictures.best import REFRESH
from edge_face_detection.pictures.cutter import FaceCutter
from face_messages import FaceEvent

__all__ = ["run"]

# How much less frontal a frame may be than the most frontal good one (0 to 1).
_TURNED = 0.15
_NAMES = ("haar", "yunet")
# For few frames a second, one frame in so many is shown.
_STEPS = (1, 3, 6)


def run(walks: Sequence[Walk], half: str) -> list[Table]:
    """Walks of which some frames are good. Raises BenchmarkError."""
    return [_best(walks, half), _few_frames(walks, half)]


def _best(walks: Sequence[Walk], half: str) -> Table:
    """`FACE_SELECTION=best`: is the picture that it picks of each track in focus, frontal and whole?"""
    rows = []
    for name in _NAMES:
        judged = [verdict for walk in walks for verdict in _verdicts(name, walk)]
        shares = [sum(verdict[part] for verdict in judged) / max(1, len(judged)) for part in range(3)]
        every = sum(map(all, judged)) / max(1, len(judged))
        rows.append([f"DETECTOR={name}", str(len(judged)), *(f"{share:.3f}" for share in [*shares, every])])
    about = (
        f"Half {half!r}: {len(walks)} videos of {FRAMES} frames, a person each, the best picture of each track. In"
        f" focus: at most {IN_FOCUS} pixels of blur, of a face at 64 pixels. Frontal: at most {_TURNED} less than the"
        " most frontal frame that is in focus and whole."
    )
    return Table(
        "The best picture of a track", about, ["", "tracks", "in focus", "frontal", "whole", "all three"], rows
    )


def _verdicts(name: str, walk: Walk) -> list[tuple[bool, bool, bool]]:
    """Of each track's picture: whether it is in focus, frontal, whole."""
    tracker = Tracker(make_finder(name), refresh=REFRESH)
    cutter = FaceCutter(tracker, edge_id="benchmark", camera_id="camera", margin=0.1, best_seconds=math.inf)
    events: list[FaceEvent] = []
    for number, image in enumerate(walk.images):
        events += [event for event, _ in cutter.faces_in(frame(image, number, number / RATE))]
    events += [event for event, _ in cutter.finish()]
    frontal = max(moment.frontality for moment in walk.moments if moment.is_good)
    verdicts = []
    for event in events:
        assert event.facebox is not None
        assert event.frame is not None
        moment = walk.moments[event.frame]
        overlap = Box(*map(float, event.facebox)).iou(moment.box.inside(SIZE))
        if overlap == 0:
            continue  # something in the photograph: that is for the precision of the detector
        is_face = overlap >= IOU
        is_frontal = moment.frontality >= frontal - _TURNED
        verdicts.append((is_face and moment.blur <= IN_FOCUS, is_face and is_frontal, is_face and moment.is_whole))
    return verdicts


def _few_frames(walks: Sequence[Walk], half: str) -> Table:
    """Are people found as well, and does each keep one track?"""
    rows = [[f"DETECTOR={name}", f"{RATE // step}", *_found(name, step, walks)] for name in _NAMES for step in _STEPS]
    about = (
        f"Half {half!r}: the {len(walks)} walks. Recall of the frames that are in focus and whole; people found, and"
        " the tracks that they had."
    )
    return Table("Few frames a second", about, ["", "frames/s", "recall", "people found", "tracks"], rows)


def _found(name: str, step: int, walks: Sequence[Walk]) -> list[str]:
    finder = make_finder(name)
    hits = shown = people = tracks = 0
    for walk in walks:
        tracker, numbers = Tracker(finder), set[int]()
        for number in range(0, len(walk.images), step):
            moment = walk.moments[number]
            place = moment.box.inside(SIZE)
            faces = tracker.faces(frame(walk.images[number], number, number / RATE))
            found = {face.track for face in faces if face.box.iou(place) >= IOU}
            numbers |= found
            if moment.is_good:
                shown += 1
                hits += bool(found)
        people += bool(numbers)
        tracks += len(numbers)
    return [f"{hits / max(1, shown):.3f}", str(people), str(tracks)]
