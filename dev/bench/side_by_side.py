"""`python -m dev.bench.side_by_side OUT [CLIP...]`: a picture of what each detector finds, haar left, yunet right.

Of each clip three frames are shown, each looked through as one that stands alone. Without a clip it is the demo's
picture: large, far off, tilted, dark, and cut by the edge.
"""

from __future__ import annotations

import sys
from typing import cast

import numpy as np

from dev.bench.detecting import frame, make_finder, read
from dev.stack.clip import picture
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

_WIDTH, _SHOWN = 400, 3
_GREEN = (80, 220, 80)
# Zoom, degrees, gain, and pixels to the side.
_VERSIONS = ((1, 0, 1, 0), (0.5, 0, 1, 0), (0.8, 30, 1, 0), (0.8, 0, 0.12, 0), (1, 0, 1, -155))


def demo_pictures() -> list[Image]:
    """Turned, smaller, darker and moved versions of the demo's picture."""
    height, width = picture().shape[:2]
    shown = []
    for zoom, degrees, gain, aside in _VERSIONS:
        turn = cv2.getRotationMatrix2D((width / 2, height / 3), degrees, zoom)
        turn[0, 2] += aside
        moved = cv2.warpAffine(picture(), turn, (width, round(width * 0.75)), borderMode=cv2.BORDER_REPLICATE)
        shown.append(np.asarray(moved * gain, np.uint8))
    return shown


def sheet(pictures: list[Image]) -> Image:
    """A row for each picture: what haar finds, what yunet finds."""
    finders = [make_finder(name) for name in ("haar", "yunet")]
    rows = []
    for shown in pictures:
        cells = []
        for finder in finders:
            cell = shown.copy()
            for face in Tracker(finder).faces(frame(shown, is_still=True)):
                corner = face.x + face.width, face.y + face.height
                cv2.rectangle(cell, (face.x, face.y), corner, _GREEN, max(2, shown.shape[1] // 200))
            cells.append(cv2.resize(cell, (_WIDTH, round(_WIDTH * shown.shape[0] / shown.shape[1]))))
        rows.append(np.hstack(cells))
    return cast("Image", np.vstack(rows))


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    out, *clips = sys.argv[1:]
    pictures = []
    for clip in clips:
        frames = list(read(clip))
        pictures += [frames[index * len(frames) // _SHOWN] for index in range(_SHOWN) if frames]
    if clips and not pictures:
        print("no frame of these clips could be read", file=sys.stderr)
        return 1
    cv2.imwrite(out, sheet(pictures or demo_pictures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
