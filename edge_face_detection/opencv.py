"""OpenCV as this program uses it: quiet, bounded, in one thread. All modules import cv2 from here."""

import os

# OpenCV reads these when it is loaded or first used, so they stand before the import. What the user set wins.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
# These the user cannot set: FFmpeg and OpenCV would then print the camera's URL with its password.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET
os.environ["OPENCV_FFMPEG_DEBUG"] = os.environ["OPENCV_VIDEOIO_DEBUG"] = "0"
# By default a small PNG may unfold to 3 GB. 67 megapixels are twice an 8K frame, and 200 MB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# Seconds after which a USB camera that gives nothing lets its thread go on, so that the thread can close it.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
# With pictures as small as here, several threads cost a tenth more and are no faster.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

import cv2
import numpy as np

# Some builds of OpenCV (with TBB) read that variable only when told to take the default.
cv2.setNumThreads(-1)

# glibc returns large blocks to the kernel at once, and the kernel clears them anew for each frame: a third of the cost
# of decoding. glibc keeps blocks up to the largest size that was freed once, 32 MB at most (mallopt(3)).
np.empty(2**25 - 2**16, np.uint8)

__all__ = ["MAX_PIXELS", "USERS_FFMPEG_OPTIONS", "cv2"]

#: What a picture or a frame may have at most.
MAX_PIXELS = 2**26

#: What the user told FFmpeg; see url_camera.py, which adds to it.
USERS_FFMPEG_OPTIONS = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
