"""`python -m edge_forwarder`."""

import os
import signal

# The imports take a while, in which a SIGTERM has nothing to end in order.
# It does not raise: Python drops an exception that is raised in a callback, and imports run callbacks.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from edge_forwarder.forwarder import work  # noqa: E402 - see above
from edge_forwarder.settings import ForwarderSettings  # noqa: E402 - see above
from face_messages.service import program  # noqa: E402 - see above

if __name__ == "__main__":
    program.end(
        program.run(
            ForwarderSettings,
            work,
            name="edge_forwarder",
            about="Takes faces from the edge broker, keeps them on disk and sends them to the cloud broker.",
        )
    )
