"""`python -m edge_face_detection`."""

from __future__ import annotations

import os
import signal

# The imports take a while, in which a SIGTERM has nothing to end in order.
# It does not raise: Python drops an exception that is raised in a callback, and imports run callbacks.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from edge_face_detection.program import work  # noqa: E402 - see above
from edge_face_detection.settings import DetectorSettings  # noqa: E402 - see above
from face_messages.service import program  # noqa: E402 - see above

if __name__ == "__main__":
    program.end(
        program.run(
            DetectorSettings,
            work,
            name="edge_face_detection",
            about="Reads a camera or a video, finds faces, and publishes each as a PNG message.",
            flags=["preview"],
        )
    )
