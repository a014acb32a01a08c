"""`python -m cloud_saver`."""

import os
import signal
import sys

# The imports take a while, in which a SIGTERM has nothing to end in order.
# It does not raise: Python drops an exception that is raised in a callback, and imports run callbacks.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from cloud_saver import cli as commands  # noqa: E402 - see above
from cloud_saver.program import work  # noqa: E402 - see above
from cloud_saver.settings import SaverSettings  # noqa: E402 - see above
from face_messages.service import program  # noqa: E402 - see above

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in commands.NAMES:
        # A SIGTERM must give a non-zero exit status.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sys.exit(commands.main(sys.argv[1:]))
    program.end(
        program.run(
            SaverSettings,
            work,
            name="cloud_saver",
            about="Takes faces from the cloud broker and writes each to IBM Cloud Object Storage, or another S3 store."
            " Besides: `erase` and `retention`, for which see `erase --help`, `retention --help`.",
        )
    )
