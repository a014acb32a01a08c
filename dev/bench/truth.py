"""Found faces against true ones: recall, precision, delay until a face is found, and losses after that."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from dev.bench.measure import BenchmarkError
from edge_face_detection.faces.detector import Box

__all__ = ["Score", "TrueFace", "judge", "judge_frames", "labelled", "link", "match", "read_labels"]

#: From this intersection over union on, a box is that face's, as in PASCAL VOC (M. Everingham et al., IJCV 2010).
IOU = 0.5
# The same for a face that counts neither way, and for a face of the frame before.
_IOU_NEITHER = 0.2
_IOU_LINK = 0.3
# A face that was away for longer appears anew. A face in view for less says nothing about the delay.
_GAP_FRAMES = 10
_LEAST_FRAMES = 10


@dataclass(frozen=True, slots=True)
class TrueFace:
    """A face in a picture. One that does not count is neither right nor wrong to find."""

    box: Box
    person: int = 0
    counts: bool = True


@dataclass(slots=True)
class Score:
    """Faces found, missed and made up; the delay and the longest loss of each appearance."""

    found: int = 0
    missed: int = 0
    wrong: int = 0
    delays: list[float] = field(default_factory=list)
    """Frames from the first that shows the face to the first in which it is found; infinite if it never is."""
    losses: list[int] = field(default_factory=list)
    """Frames in a row in which the face was not found again, at most."""

    def __add__(self, other: Score) -> Score:
        return Score(
            self.found + other.found,
            self.missed + other.missed,
            self.wrong + other.wrong,
            self.delays + other.delays,
            self.losses + other.losses,
        )

    @property
    def recall(self) -> float:
        """NaN where there is nothing to find."""
        return self.found / (self.found + self.missed) if self.found + self.missed else math.nan

    @property
    def precision(self) -> float:
        """NaN where nothing was found."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else math.nan

    def delay(self, share: float) -> float:
        """Frames within which this share of the appearances is found (nearest rank); NaN where there are none."""
        return sorted(self.delays)[math.ceil(share * len(self.delays)) - 1] if self.delays else math.nan


def match(boxes: Sequence[Box], others: Sequence[Box], *, iou: float) -> dict[int, int]:
    """Pair one to one, largest overlap first: the index of the other box, for each box that has one."""
    pairs = [(box.iou(other), one, two) for one, box in enumerate(boxes) for two, other in enumerate(others)]
    matched: dict[int, int] = {}
    for overlap, one, two in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap >= iou and one not in matched and two not in matched.values():
            matched[one] = two
    return matched


def judge(found: Sequence[Box], faces: Sequence[TrueFace], *, smallest: float) -> tuple[Score, set[int]]:
    """The score of one picture, and the persons found.

    A box with a side of less than `smallest` pixels that is no face's is neither right nor wrong.
    """
    counting = [face for face in faces if face.counts]
    matched = match([face.box for face in counting], found, iou=IOU)
    others = [box for index, box in enumerate(found) if index not in matched.values()]
    neither = [face.box for face in faces if not face.counts]
    wrong = [
        box
        for box in others
        if min(box.width, box.height) >= smallest and all(box.iou(other) < _IOU_NEITHER for other in neither)
    ]
    seen = {counting[index].person for index in matched}
    return Score(found=len(matched), missed=len(counting) - len(matched), wrong=len(wrong)), seen


def judge_frames(found: Sequence[Sequence[Box]], truth: Sequence[Sequence[TrueFace]], *, smallest: float) -> Score:
    """The score of a clip, frame by frame."""
    score = Score()
    appearances: defaultdict[int, list[list[bool]]] = defaultdict(list)
    present: dict[int, int] = {}
    for number, (boxes, faces) in enumerate(zip(found, truth, strict=True)):
        of_frame, seen = judge(boxes, faces, smallest=smallest)
        score += of_frame
        for face in faces:
            if number - present.get(face.person, -math.inf) > _GAP_FRAMES:
                appearances[face.person].append([])
            present[face.person] = number
            if face.counts:
                appearances[face.person][-1].append(face.person in seen)
    for hits in (hits for person in appearances.values() for hits in person if len(hits) >= _LEAST_FRAMES):
        first = hits.index(True) if True in hits else None
        score.delays.append(math.inf if first is None else first)
        if first is not None:
            score.losses.append(max((len(list(run)) for hit, run in groupby(hits[first:]) if not hit), default=0))
    return score


def labelled(boxes: Iterable[Box], size: tuple[int, int], *, smallest: float) -> list[TrueFace]:
    """The faces labelled in a picture of `size`; a face that touches its edge, or is too small, does not count."""
    return [
        TrueFace(
            box,
            counts=min(box.x, box.y, size[0] - box.x - box.width, size[1] - box.y - box.height) > 0
            and min(box.width, box.height) >= smallest,
        )
        for box in boxes
    ]


def link(frames: Iterable[Sequence[TrueFace]]) -> list[list[TrueFace]]:
    """Give persons to faces that have none: a face is the person who was there just before."""
    linked: list[list[TrueFace]] = []
    last: dict[int, tuple[int, Box]] = {}
    for number, faces in enumerate(frames):
        known = [person for person, (seen, _) in last.items() if number - seen <= _GAP_FRAMES]
        matched = match([face.box for face in faces], [last[person][1] for person in known], iou=_IOU_LINK)
        persons = [known[matched[index]] if index in matched else None for index in range(len(faces))]
        linked.append([])
        for face, person in zip(faces, persons, strict=True):
            who = len(last) if person is None else person
            last[who] = number, face.box
            linked[-1].append(TrueFace(face.box, who, face.counts))
    return linked


def read_labels(path: Path) -> dict[str, list[Box]]:
    """Labels as CSV, a face a line: `picture,x,y,width,height` in pixels; a picture without faces: its name alone.

    A first line of just these words is passed over. Raises BenchmarkError, with file and line, for anything else.
    """
    labels: defaultdict[str, list[Box]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, line in enumerate(csv.reader(file), start=1):
                row = [cell.strip() for cell in line]
                if not any(row) or (number == 1 and row[1:] == ["x", "y", "width", "height"]):
                    continue
                try:
                    labels[row[0]].extend(_boxes(row))
                except ValueError as error:
                    raise BenchmarkError(
                        f"{path}, line {number}: {error}; a line is picture,x,y,width,height (in pixels), or the"
                        " picture alone when no face is in it"
                    ) from None
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"{path} is no CSV in UTF-8: {error}") from None
    if not labels:
        raise BenchmarkError(f"{path} has no labels in it")
    return dict(labels)


def _boxes(row: list[str]) -> list[Box]:
    if not row[0]:
        raise ValueError("no picture is named")
    if not any(row[1:]):
        return []
    if len(row) != 5:
        raise ValueError(f"{len(row)} values where 5 belong")
    box = Box(*map(float, row[1:]))  # tells which is no number
    if not all(map(math.isfinite, box)) or min(box.width, box.height) < 1:
        raise ValueError(f"{','.join(row[1:])} is no box in pixels")
    return [box]
