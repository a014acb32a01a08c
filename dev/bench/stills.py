"""Faces in pictures that a person has labelled: the found, the missed and the wrong ones."""

import os
import time
from pathlib import Path
from typing import cast

from dev.bench.detecting import naive_calls
from dev.bench.measure import BenchmarkError
from dev.bench.others import ours, plain
from dev.bench.truth import Score, judge, labelled, read_labels
from dev.stack.figures import Table
from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

#: The file with the labels, in the folder with the pictures.
LABELS = "labels.csv"


def run(folder: Path, *, smallest: int) -> list[Table]:
    """Run each method on each picture; faces with a side of less than `smallest` pixels do not count.

    Raises BenchmarkError for labels that cannot be used.
    """
    labels = read_labels(folder / LABELS)
    methods = {"naive": plain(naive_calls()), "DETECTOR=haar": ours("haar")}
    if "YUNET_MODEL" in os.environ:
        methods["DETECTOR=yunet"] = ours("yunet")
    scores = dict.fromkeys(methods, Score())
    cpu = dict.fromkeys(methods, 0.0)
    pixels = 0
    for name, boxes in labels.items():
        picture = _picture(folder, name)
        size = picture.shape[1], picture.shape[0]
        pixels += size[0] * size[1]
        if astray := [box for box in boxes if not box.iou(Box(0, 0, *size))]:
            raise BenchmarkError(f"{folder / LABELS}: {name} has {size[0]}x{size[1]} pixels, {astray[0]} is outside")
        faces = labelled(boxes, size, smallest=smallest)
        for method, look in methods.items():
            began = time.process_time()
            (found,) = look([picture], False, smallest)
            cpu[method] += time.process_time() - began
            scores[method] += judge(found, faces, smallest=smallest)[0]
    rows = [
        [
            method,
            f"{score.recall:.3f}",
            f"{score.precision:.3f}",
            *(str(count) for count in (score.found, score.missed, score.wrong)),
            f"{cpu[method] / pixels * 1e9:.0f}",
        ]
        for method, score in scores.items()
    ]
    about = (
        f"Pictures of {folder}, each on its own: {len(labels)}. One to one at IoU 0.5; faces below {smallest}"
        " pixels or cut by the edge, and boxes below that size which are no face's, count neither way."
    )
    header = ["", "recall", "precision", "found", "missed", "wrong", "CPU ms/megapixel"]
    return [Table("Stills", about, header, rows)]


def _picture(folder: Path, name: str) -> Image:
    picture = cv2.imread(str(folder / name), cv2.IMREAD_COLOR) if (folder / name).is_file() else None
    if picture is None:
        raise BenchmarkError(f"{folder / LABELS} names {name}, which is missing in {folder}, or no picture")
    return cast("Image", picture)
