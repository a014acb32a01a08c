"""`python -m cloud_gallery`."""

import getpass
import os
import signal
import sys

# The imports take a while, in which a SIGTERM has nothing to end in order.
# It does not raise: Python drops an exception that is raised in a callback, and imports run callbacks.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from cloud_gallery.password import hashed  # noqa: E402 - see above
from cloud_gallery.program import work  # noqa: E402 - see above
from cloud_gallery.settings import GallerySettings  # noqa: E402 - see above
from face_messages.service import program  # noqa: E402 - see above

_LEAST_PASSWORD = 10


def _password() -> int:
    """Asks for a password, or reads a line where there is no terminal, and prints what GALLERY_PASSWORD takes."""
    if sys.stdin.isatty():
        print("A password for the gallery:", end=" ", file=sys.stderr, flush=True)  # noqa: T201 - for a terminal
        password = getpass.getpass("")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < _LEAST_PASSWORD:
        print(f"too short: {_LEAST_PASSWORD} characters at least", file=sys.stderr)  # noqa: T201 - as above
        return program.EXIT_FAILED
    print(hashed(password))  # noqa: T201 - it is for a file
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["password"]:
        sys.exit(_password())
    program.end(
        program.run(
            GallerySettings,
            work,
            name="cloud_gallery",
            about="A page with the faces in the bucket, live and back in time, and the system's health."
            " Besides: `password`, which asks for one and prints what GALLERY_PASSWORD takes.",
        )
    )
