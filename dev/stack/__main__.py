"""`python -m dev.stack demo`: see `--help`."""

import argparse
import signal
import sys
from pathlib import Path

from dev.stack.processes import ProcessError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack", description="the whole path on this machine")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="play a video through it, and show how far its faces get")
    demo.add_argument("--video", metavar="SOURCE", help="a file, a folder of pictures, a camera's number or a URL")
    demo.add_argument("--folder", type=Path, default=Path(".demo"), help="made or emptied; default: %(default)s")
    demo.add_argument("--seconds", type=float, default=20, help="length of the generated clip; default: %(default)s")
    gallery = commands.add_parser("gallery", help="show the faces of the last demo once more")
    gallery.add_argument("--folder", type=Path, default=Path(".demo"), help="the demo's; default: %(default)s")
    given = parser.parse_args()
    if sys.platform != "linux":
        print("demo: needs Linux, whose kernel ends the parts with their parent", file=sys.stderr)
        return 1
    folder = given.folder.resolve()
    try:
        # Imported late, so that Ctrl-C during the import of OpenCV is handled, too.
        from dev.stack.demo import end_on_signals, run, show  # noqa: PLC0415

        end_on_signals()
        if given.command == "gallery":
            return show(folder)
        return run(video=given.video or None, folder=folder, seconds=given.seconds)
    except (ProcessError, FileNotFoundError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # A second Ctrl-C while the parts end, which takes a moment at most, changes nothing.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
