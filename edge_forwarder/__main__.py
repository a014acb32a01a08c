"""`python -m edge_forwarder`."""

from __future__ import annotations

from edge_forwarder.forwarder import work
from edge_forwarder.settings import ForwarderSettings
from face_messages import program

if __name__ == "__main__":
    program.end(
        program.run(
            ForwarderSettings,
            work,
            name="edge_forwarder",
            about="Takes faces from the edge broker, keeps them on disk and sends them to the cloud broker.",
        )
    )
