"""OpenCV as this program uses it: quiet, bounded, in one thread. All modules take cv2 from here."""

import os

# OpenCV reads these when it is loaded or first used, so they stand before the import. What the user set wins.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
# By default a small PNG may unfold to 3 GB. 67 megapixels are twice an 8K frame, and 200 MB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# A USB camera that gives nothing must not keep its thread from letting it go; reading goes on after that, in seconds.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
# Pictures as small as those looked at here cost a tenth more when several threads share them, and are not sooner done.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

import cv2
import numpy as np

# Some builds of OpenCV (with TBB) go by that variable only once they are told to take its default.
cv2.setNumThreads(-1)

# glibc gives large blocks back to the kernel at once, which then has to clear every frame's anew: a third of what
# decoding costs. It keeps them up to the largest size that was freed once, 32 MB at most (mallopt(3)).
np.empty(2**25 - 2**16, np.uint8)

__all__ = ["MAX_PIXELS", "USERS_FFMPEG_OPTIONS", "cv2"]

#: What a picture or a frame may have at most.
MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])

#: What the user told FFmpeg; see url_camera.py, which adds to it.
USERS_FFMPEG_OPTIONS = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
