"""`python -m edge_face_detection`."""

from __future__ import annotations

from edge_face_detection.detection import work
from edge_face_detection.settings import DetectorSettings
from face_messages import program

if __name__ == "__main__":
    program.end(
        program.run(
            DetectorSettings,
            work,
            name="edge_face_detection",
            about="Reads a camera or a video, finds faces, and publishes each as a PNG message.",
        )
    )
