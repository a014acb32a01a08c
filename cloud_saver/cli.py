"""`python -m cloud_saver erase` and `retention`: what is done to the bucket by hand."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, time
from urllib.parse import unquote

from cloud_saver import retention
from cloud_saver.erase import Erasure, Span, of_nobody, seen
from face_messages.service.program import EXIT_BAD_SETTINGS, EXIT_FAILED
from face_messages.service.settings import SettingsError
from object_store.bucket import Bucket
from object_store.errors import StoreError
from object_store.keys import camera_folder
from object_store.listing import folders
from object_store.settings import StoreSettings

NAMES = ("erase", "retention")

_INTERRUPTED = 130
_SHOWN = 10
_SAY_EVERY = 10_000
_MIDNIGHT = time()

_ERASE = """Deletes the faces that a camera saw from one moment on and before another, for good, with their old
versions. It asks first. Interrupted, or run while faces arrive, it is simply run again. Times need a
zone, as in 2026-05-01T08:00Z or 2026-05-01T10:00+02:00."""

_STILL_COMING = """Faces of that time that are still on their way (in an outbox of the edge, during an outage, say) are
stored when they arrive: run this again when the edge has delivered everything."""

_RETENTION = """Has the store delete by itself what is older than RETENTION_DAYS, counted from when it was stored:
two rules of the bucket's lifecycle, facedetection-faces and facedetection-unrecognized; its other rules
stay as they are. It asks first, and reads the rules back. With RETENTION_DAYS=0 the two rules are removed."""


class CommandError(Exception):
    """It was not done; the text tells why, and what to do."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit status: 0 when all was done, 1 when not, 2 for wrong arguments or settings."""
    asked = _arguments(argv)
    erasure: Erasure | None = None
    try:
        settings = StoreSettings.load()
        store = Bucket(settings)
        if asked.command == "retention":
            return _retention(store, settings, sure=asked.yes)
        erasure = Erasure(store, _spans(store, asked), _say_progress)
        return _erase(erasure, settings, asked)
    except SettingsError as error:
        for line in error.lines:
            _complain(line)
        return EXIT_BAD_SETTINGS
    except (CommandError, StoreError) as error:
        status = EXIT_FAILED
        _complain(str(error))
    except KeyboardInterrupt:
        status = _INTERRUPTED
        _complain("interrupted")
    if erasure is not None and (erasure.deleted or status == _INTERRUPTED):
        again = shlex.join(["python3", "-m", "cloud_saver", *argv])
        _complain(f"{erasure.deleted} deleted so far; to go on, run again: {again}")
    return status


def _erase(erasure: Erasure, settings: StoreSettings, asked: argparse.Namespace) -> int:
    count, size, first, last = 0, 0, "", ""
    for each in erasure.found():
        count, size, first, last = count + 1, size + each.bytes, first or each.key, each.key
    where = f"in bucket {settings.cos_bucket} at {settings.cos_endpoint}"
    what = "1 object" if count == 1 else f"{count} objects"
    _say(f"{what}, {size / 1e6:.1f} MB, {where}")
    if count:
        _say(f"first: {first}\nlast:  {last}")
    elif asked.edge is not None:
        _say_who_is_there(erasure.store, asked)
    if asked.to > datetime.now(UTC):
        _say("--to lies ahead: what is seen until then is not deleted by this")
    if asked.dry_run or not count:
        _say("nothing was deleted" if asked.dry_run else _STILL_COMING)
        return 0
    if not asked.yes:
        _confirm(f"Delete {what}, for good?")
    failed = erasure.run()
    _say(f"{erasure.deleted} deleted")
    for key, reason in list(failed.items())[:_SHOWN]:
        _complain(f"{key}: not deleted ({reason})")
    if len(failed) > _SHOWN:
        _complain(f"and {len(failed) - _SHOWN} more")
    if failed:
        _complain(f"{len(failed)} could not be deleted: see the rights of the credentials, and locks on the bucket")
    elif erasure.unfinished:
        _complain("more of that time arrived meanwhile: pause the camera, and run this again")
    if erasure.kept_versions:
        _complain("the bucket keeps versions, and these credentials cannot see them: what was deleted is still there")
    _say(_STILL_COMING)
    return EXIT_FAILED if erasure.unfinished or erasure.kept_versions else 0


def _spans(store: Bucket, asked: argparse.Namespace) -> list[Span]:
    if asked.unattributed:
        return of_nobody(asked.begin, asked.to)
    if asked.camera is not None:
        return [seen(camera_folder(asked.edge, asked.camera), asked.begin, asked.to)]
    edge = camera_folder(asked.edge, "")[:-1]
    return [seen(f"{edge}{camera}/", asked.begin, asked.to) for camera in folders(store, edge)]


def _say_who_is_there(store: Bucket, asked: argparse.Namespace) -> None:
    """A misspelt name must not look like a camera that saw nobody."""
    known = [unquote(name) for name in folders(store, camera_folder(asked.edge, "")[:-1])]
    if not known:
        edges = [unquote(name) for name in folders(store, "faces/")]
        _complain(f"there is nothing of an edge {asked.edge!r} at all, but of: {', '.join(edges) or 'nobody'}")
    elif asked.camera not in (None, *known):
        _complain(f"there is nothing of a camera {asked.camera!r} at all, but of: {', '.join(known)}")


def _retention(store: Bucket, settings: StoreSettings, *, sure: bool) -> int:
    found, wanted = retention.retention_days(store), retention.wanted(settings.retention_days)
    _say(f"in bucket {settings.cos_bucket} at {settings.cos_endpoint}: {retention.in_words(found)}")
    if found == wanted:
        _say("as RETENTION_DAYS wants it")
        return 0
    if not sure:
        _confirm(f"Have it from now on like this: {retention.in_words(wanted)}?")
    retention.set_retention(store, settings.retention_days)
    _say(f"done, and read back: {retention.in_words(wanted)}")
    return 0


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("nothing was done: there is no terminal to ask on; --yes does it without asking")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done")


def _say_progress(deleted: int) -> None:
    if deleted % _SAY_EVERY == 0:
        _say(f"{deleted} deleted so far")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is for a terminal


def _complain(text: str) -> None:
    print(f"cloud_saver: {text}", file=sys.stderr)  # noqa: T201 - as above


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-05-01T08:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: add Z for UTC, or an offset such as +02:00")
    return moment


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cloud_saver")
    commands = parser.add_subparsers(dest="command", required=True)
    erase = commands.add_parser("erase", description=_ERASE, epilog=_STILL_COMING)
    erase.add_argument("--edge", type=_name, help="EDGE_ID of the device")
    which = erase.add_mutually_exclusive_group(required=True)
    which.add_argument("--camera", type=_name, help="CAMERA_ID of the camera")
    which.add_argument("--all-cameras", action="store_true", help="all cameras of the edge")
    which.add_argument("--unattributed", action="store_true", help="what was received without a sender's name, by days")
    erase.add_argument("--from", type=_time, required=True, dest="begin", metavar="TIME", help="seen then or later")
    erase.add_argument("--to", type=_time, required=True, metavar="TIME", help="and before this")
    erase.add_argument("--dry-run", action="store_true", help="only show what there is")
    keep = commands.add_parser("retention", description=_RETENTION)
    for command in (erase, keep):
        command.add_argument("--yes", action="store_true", help="do not ask")
    asked = parser.parse_args(argv)
    if asked.command == "erase":
        if (asked.edge is None) != asked.unattributed:
            erase.error("--edge goes with --camera or --all-cameras, and only with them")
        if asked.begin >= asked.to:
            erase.error("--from must be before --to")
        if asked.unattributed and any(each.astimezone(UTC).time() != _MIDNIGHT for each in (asked.begin, asked.to)):
            erase.error("--unattributed knows whole days (UTC) only, such as --from 2026-05-01T00:00Z")
    return asked
