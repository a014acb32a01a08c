"""The clips that the detectors are measured on, and what is to be found in each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dev.bench.detecting import read, reference
from dev.bench.filming import make_film, open_writer
from dev.bench.measure import BenchmarkError
from dev.bench.truth import TrueFace, labelled, link, read_labels
from edge_face_detection.faces.detector import Box

__all__ = ["FULL_FILMS", "QUICK_FILMS", "SMALLEST", "Film", "generated", "given"]

#: The smallest face that counts: the default of MIN_FACE_SIZE, in pixels.
SMALLEST = 40

# Width, height, and frames of each scene; where few are enough, since a large frame costs the naive loop 0.3 s.
FULL_FILMS = {
    (640, 480): {"one person": 300, "several people": 240, "coming and going": 270, "nobody": 60},
    (1280, 720): {"one person": 90, "several people": 90, "nobody": 30},
    (1920, 1080): {"one person": 60, "several people": 45, "nobody": 20},
}
QUICK_FILMS = {(640, 480): {"one person": 40, "nobody": 10}}


@dataclass(frozen=True, slots=True)
class Film:
    """A clip and what is to be found in it: None where nobody knows."""

    name: str
    path: Path
    truth: list[list[TrueFace]] | None


def generated(folder: Path, films: dict[tuple[int, int], dict[str, int]]) -> list[Film]:
    """Makes such a clip of each size and scene, of so many frames."""
    made = []
    for (width, height), scenes in films.items():
        for scene, frames in scenes.items():
            path = folder / f"{width}x{height}-{scene.replace(' ', '-')}.avi"
            truth = make_film(path, scene, size=(width, height), frames=frames, smallest=SMALLEST)
            made.append(Film(f"{width}x{height}, {scene}", path, truth))
    return made


def given(folder: Path, clip: Path) -> Film:
    """The clip as a camera would send it; its truth is in a file beside it (clip.mkv.csv), or what the reference says.

    Raises BenchmarkError for a clip or labels that cannot be used.
    """
    path = folder / f"{clip.name}.avi"
    size, frames = _as_jpegs(clip, path)
    labels = clip.with_name(f"{clip.name}.csv")
    if labels.exists():
        of_frame = read_labels(labels)
        boxes = [of_frame.pop(str(number), []) for number in range(frames)]
        if of_frame:
            raise BenchmarkError(f"{labels}: {min(of_frame)!r} is no frame of {clip}: they go from 0 to {frames - 1}")
    elif "YUNET_MODEL" in os.environ:
        boxes = [[Box(*box) for box in found] for found in reference(str(path))]
    else:
        return Film(clip.name, path, None)
    return Film(clip.name, path, link([labelled(of_frame, size, smallest=SMALLEST) for of_frame in boxes]))


def _as_jpegs(clip: Path, path: Path) -> tuple[tuple[int, int], int]:
    """Writes the clip as Motion-JPEG; returns its width and height, and its frames."""
    frames = 0
    for image in read(str(clip)):
        size = image.shape[1], image.shape[0]
        if not frames:
            writer = open_writer(path, size, quality=95)
        writer.write(image)
        frames += 1
    if not frames:
        raise BenchmarkError(f"{clip}: no frame could be read")
    writer.release()
    return size, frames
