"""The clips that the detectors are measured on, and the faces in each.

Generated clips show one astronaut as several people, who act a scene of scenes.csv before a wall. Given ones have
labels beside them, or the finds of YuNet.

A line of scenes.csv says where a person's face is at a second: its middle as fractions of the frame's width and
height, its side as a fraction of the height (above 1: in pixels), its tilt in degrees, and how far it is turned away,
and covered from the chin up, from 0 to 1. The scenes take ten seconds each, people one behind the other:

* one person: comes in, draws near, turns away and back, is covered by a hand for a moment, leaves, comes back faster.
* several people: one far off, two that cross, and one that is in a shadow, comes and goes.
* coming and going: eight, one after the other, each for a second; every other one walks in, the rest appear at once.
* nobody
"""

import csv
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dev.bench.detecting import read, reference
from dev.bench.measure import QUICK, BenchmarkError, Scale
from dev.bench.truth import TrueFace, labelled, link, read_labels
from dev.stack.clip import Pose, draw, noisy, picture, write_clip
from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["SMALLEST", "Film", "generated", "given", "make_film", "people"]

#: The smallest face that counts: the default of MIN_FACE_SIZE, in pixels.
SMALLEST = 40
FPS = 30

# Width, height, and frames of each scene; few where few are enough, since a large frame costs the naive loop 0.3 s.
_FULL_FILMS = {
    (640, 480): {"one person": 300, "several people": 240, "coming and going": 270, "nobody": 60},
    (1280, 720): {"one person": 90, "several people": 90, "nobody": 30},
    (1920, 1080): {"one person": 60, "several people": 45, "nobody": 20},
}
_QUICK_FILMS = {(480, 360): {"one person": 40, "nobody": 5}}

# The part of the picture that is the background (top, bottom), and its blur, of the frame's width: so the naive loop
# takes about as long as for a webcam's picture of a room. A sharp background would cost it far more, which would
# flatter the others, and a bare wall far less.
_CLUTTER = slice(250, 512)
_BLUR = 0.008
# Up to here a face counts as shown; a face that is turned, tilted or hidden more counts neither way.
_MOST_TURNED, _MOST_TILTED, _MOST_HIDDEN = 0.15, 15.0, 0.1


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a look (0 to 4) and a script: seconds and poses. Not there before its first line or after its last.

    Between two lines all values change evenly.
    """

    look: int
    script: Sequence[tuple[float, ...]]

    def pose(self, second: float) -> Pose | None:
        seconds, *values = zip(*self.script, strict=True)
        if not seconds[0] <= second <= seconds[-1]:
            return None
        return Pose(*(float(np.interp(second, seconds, row)) for row in values))


def people(scene: str, height: int) -> list[Person]:
    """Who acts a scene in frames of that height in pixels, the last in front."""
    table = csv.reader(Path(__file__).with_name("scenes.csv").read_text().splitlines())
    lines = (line for line in table if line[0] == scene)
    found = []
    for (_, look), script in itertools.groupby(lines, key=lambda line: line[1:3]):
        poses = [[float(value) for value in line[3:]] for line in script]
        in_fractions = [(*p[:3], p[3] / height if p[3] > 1 else p[3], *p[4:]) for p in poses]
        found.append(Person(int(look), in_fractions))
    return found


@dataclass(frozen=True, slots=True)
class Film:
    """A clip and the faces in it: None where nobody knows."""

    name: str
    path: Path
    truth: list[list[TrueFace]] | None


def generated(folder: Path, scale: Scale) -> Iterator[Film]:
    """Make a clip of each size and scene."""
    films = _QUICK_FILMS if scale is QUICK else _FULL_FILMS
    for (width, height), scenes in films.items():
        for scene, frames in scenes.items():
            path = folder / f"{width}x{height}-{scene.replace(' ', '-')}.avi"
            truth = make_film(path, scene, size=(width, height), frames=frames, smallest=SMALLEST)
            yield Film(f"{width}x{height}, {scene}", path, truth)


def make_film(path: Path, scene: str, *, size: tuple[int, int], frames: int, smallest: float) -> list[list[TrueFace]]:
    """Write a clip of `size` (width and height); returns who is in each frame.

    Faces with a side of less than `smallest` pixels do not count. Raises OSError when it cannot be written.
    """
    cast = people(scene, size[1])
    sharp = cv2.resize(picture()[_CLUTTER], size, interpolation=cv2.INTER_CUBIC)
    wall = np.asarray(cv2.GaussianBlur(sharp, (0, 0), _BLUR * size[0]), np.float32)
    walls = noisy(0.7 * wall + 50, deviation=2.5, count=4)
    truth = []

    def frame(number: int) -> Image:
        image = walls[number % len(walls)].copy()
        shown: list[TrueFace] = []
        for who, person in enumerate(cast):
            pose = person.pose(number / FPS)
            if pose is not None:
                shown = [*(_behind(face, pose, size) for face in shown), _face(who, pose, size, smallest)]
                draw(image, pose, person.look)
        truth.append([face for face in shown if _part_in(face.box, Box(0, 0, *size)) > 0])
        return image

    write_clip(path, map(frame, range(frames)), fps=FPS, size=size)
    return truth


def _face(who: int, pose: Pose, size: tuple[int, int], smallest: float) -> TrueFace:
    box = Box(*pose.face(size))
    is_shown = pose.turned <= _MOST_TURNED and abs(pose.tilt) <= _MOST_TILTED and pose.covered <= _MOST_HIDDEN
    return TrueFace(box, who, is_shown and box.width >= smallest and _part_in(box, Box(0, 0, *size)) > 1 - 1e-9)


def _behind(face: TrueFace, pose: Pose, size: tuple[int, int]) -> TrueFace:
    """A face when somebody comes before it."""
    return TrueFace(face.box, face.person, face.counts and _part_in(face.box, Box(*pose.bust(size))) <= _MOST_HIDDEN)


def _part_in(box: Box, other: Box) -> float:
    across = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
    down = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
    return max(0.0, across) * max(0.0, down) / (box.width * box.height)


def given(folder: Path, clip: Path) -> Film:
    """The clip as a camera would send it; its truth is in a file beside it (clip.mkv.csv), or the reference's finds.

    Raises BenchmarkError for a clip or labels that cannot be used.
    """
    path = folder / f"{clip.name}.avi"
    frames = read(str(clip))
    first = next(frames, None)
    if first is None:
        raise BenchmarkError(f"{clip}: no frame could be read")
    size = first.shape[1], first.shape[0]
    count = write_clip(path, itertools.chain([first], frames), fps=FPS, size=size, quality=95)
    labels = clip.with_name(f"{clip.name}.csv")
    if labels.exists():
        of_frame = read_labels(labels)
        boxes = [of_frame.pop(str(number), []) for number in range(count)]
        if of_frame:
            raise BenchmarkError(f"{labels}: {min(of_frame)!r} is no frame of {clip}: they go from 0 to {count - 1}")
    elif "YUNET_MODEL" in os.environ:
        boxes = [[Box(*box) for box in found] for found in reference(str(path))]
    else:
        return Film(clip.name, path, None)
    return Film(clip.name, path, link([labelled(of_frame, size, smallest=SMALLEST) for of_frame in boxes]))
