"""Cutting a face out of its frame."""

from edge_face_detection.faces.detector import Face
from edge_face_detection.sources.frame import Frame, Image

__all__ = ["crop"]


def crop(frame: Frame, face: Face, *, margin: float) -> Image:
    """The face cut out of its frame (H×W×3 uint8, BGR), as a picture of its own.

    `margin` is added at each side, as a fraction of the box's width or height, and cut off at the frame's edge.
    Raises ValueError when the margin is negative or not finite, or when the face lies outside the frame, and
    UnreadableFrameError.
    """
    if not 0 <= margin < float("inf"):
        raise ValueError(f"the margin is a fraction of the face's box, 0 or more, not {margin}")
    width, height = frame.size
    # Beyond the frame's own size a margin changes nothing.
    across, down = (round(min(margin * side, width + height)) for side in (face.width, face.height))
    left, right = max(0, face.x - across), min(width, face.x + face.width + across)
    top, bottom = max(0, face.y - down), min(height, face.y + face.height + down)
    if left >= right or top >= bottom:
        raise ValueError(f"{face} lies outside the frame of {width}x{height} pixels")
    return frame.cut((left, top, right - left, bottom - top))
