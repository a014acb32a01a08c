"""An opened camera or video, whose Motion-JPEG is taken as it is."""

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image, Jpeg, to_bgr

__all__ = ["MJPG", "Capture", "leave_jpegs_to_us"]

MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class Capture:
    """OpenCV's `video`, giving JPEGs where `is_raw`, or else decoded pictures."""

    def __init__(self, video: cv2.VideoCapture, *, is_raw: bool) -> None:
        self.video = video
        self.is_raw = is_raw

    def grab(self) -> bool:
        """Go to the next frame; False when there is none, or none yet."""
        return self.video.grab()

    def retrieve(self) -> Image | Jpeg | None:
        """The grabbed frame; None when it cannot be decoded or is no JPEG."""
        decoded, image = self.video.retrieve()
        if not decoded or image is None:  # a packet without data counts as decoded
            return None
        try:
            return Jpeg(image.tobytes()) if self.is_raw else to_bgr(image)
        except ValueError:
            return None

    def release(self) -> None:
        self.video.release()


def leave_jpegs_to_us(video: cv2.VideoCapture) -> bool:
    """Keep FFmpeg from decoding Motion-JPEG, for which it needs twice OpenCV's time; False if it is none."""
    return video.get(cv2.CAP_PROP_FOURCC) == MJPG and video.set(cv2.CAP_PROP_FORMAT, -1)
