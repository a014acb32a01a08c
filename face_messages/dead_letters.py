"""`python3 -m face_messages.dead_letters`: shows the dead letters of an outbox, and decides what becomes of them."""

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from pydantic_core import from_json

from face_messages.event import PNG_SIGNATURE
from face_messages.message import printable
from face_messages.names import safe_name
from face_messages.outbox.files import OutboxInUseError, claim
from face_messages.service.settings import OutboxSettings

_ABOUT = """A dead letter is a message that can never be delivered as things are: the store, or a broker
on the way, refuses it. It takes up room in the outbox until somebody decides: mend the cause and
`retry`, or `discard`. `list` and `export` change nothing and work while the program runs."""

_STOP = """{outbox} is in use: stop the program first, and start it again afterwards. In containers:
  docker compose stop edge_forwarder
  docker compose run --rm --no-deps --entrypoint python3 edge_forwarder \\
      -m face_messages.dead_letters {command} --all
  docker compose start edge_forwarder"""


class DeadLetterError(Exception):
    """It was not done; the text tells why, and what to do."""


def show(outbox: Path) -> Iterator[str]:
    """A line for each dead letter, and one for all of them."""
    with _opened(outbox, read_only=True) as db:
        # All at once: a pager may read the lines slowly, and an open query keeps the write-ahead log from being cut.
        rows = db.execute(
            "SELECT id, kept_at, length(payload) AS bytes, topic, aside, cost FROM outbox"
            " WHERE aside IS NOT NULL ORDER BY seq"
        ).fetchall()
    for row in rows:
        about = f"{row['bytes']} bytes  {printable(row['topic'])}  {printable(row['aside'])}"
        yield f"{_text(row['id'])}  {_time(row['kept_at'])}  {about}"
    yield f"{len(rows)} dead letters take up {sum(row['cost'] for row in rows)} bytes of {outbox}"


def export(outbox: Path, folder: Path) -> Iterator[str]:
    """Writes each payload as a file, beside a JSON file about it; only into an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise DeadLetterError(f"{folder} is not empty: name a new folder")
    with _opened(outbox, read_only=True) as db:
        # One by one: together they may not fit into memory.
        for place in db.execute("SELECT seq FROM outbox WHERE aside IS NOT NULL ORDER BY seq").fetchall():
            for row in db.execute("SELECT * FROM outbox WHERE seq = ?", tuple(place)):
                yield str(_write(folder, row))


def _write(folder: Path, row: sqlite3.Row) -> Path:
    name = safe_name(row["id"])
    file = folder / f"{name}{'.png' if row['payload'].startswith(PNG_SIGNATURE) else '.bin'}"
    about = {
        "id": _text(row["id"]),
        "reason": row["aside"],
        "kept_at": _time(row["kept_at"]),
        "topic": row["topic"],
        "content_type": row["content_type"],
        "user_properties": from_json(row["properties"]),
        "file": file.name,
    }
    file.write_bytes(row["payload"])
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
    return file


def retry(outbox: Path, ids: Sequence[str] | None) -> Iterator[str]:
    """Lets messages be sent again after the program's next start: those named, or (None) all."""
    count = _change("UPDATE outbox SET aside = NULL", outbox, ids, command="retry")
    yield f"{count} messages are sent again when the program starts"


def discard(outbox: Path, ids: Sequence[str] | None, *, sure: bool) -> Iterator[str]:
    """Deletes messages for good, those named or (None) all; asks before it does, unless `sure`."""
    if not sure and not sys.stdin.isatty():
        raise DeadLetterError("there is no terminal to ask on: --yes deletes without asking")
    what = "all" if ids is None else len(set(ids))
    question = f"Delete {what} dead letters of {outbox}, for good? [y/N] "
    if not sure and input(question).strip().lower() not in ("y", "yes"):
        raise DeadLetterError("nothing was deleted")
    count = _change("DELETE FROM outbox", outbox, ids, command="discard")
    yield f"{count} messages are deleted"


def _change(change: str, outbox: Path, ids: Sequence[str] | None, *, command: str) -> int:
    """Changes the rows of all these ids or of none of them, or (None) all dead letters; how many."""
    try:
        claimed = claim(outbox)
    except OutboxInUseError:
        raise DeadLetterError(_STOP.format(outbox=outbox, command=command)) from None
    with claimed, _opened(outbox, read_only=False) as db, db:
        if ids is None:
            return db.execute(f"{change} WHERE aside IS NOT NULL").rowcount
        for each in set(ids):
            if not db.execute(f"{change} WHERE aside IS NOT NULL AND id = ?", (unquote_to_bytes(each),)).rowcount:
                raise DeadLetterError(f"{printable(each)} is no dead letter, so nothing was changed; `list` shows them")
        return len(set(ids))


@contextmanager
def _opened(outbox: Path, *, read_only: bool) -> Iterator[sqlite3.Connection]:
    # Not `mode=ro`: that would leave the files beside it behind, which SQLite cannot do without.
    uri = f"file:{quote(str(outbox.absolute()))}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as db:
        db.row_factory = sqlite3.Row
        db.execute(f"PRAGMA query_only={read_only:d}")
        db.execute("PRAGMA secure_delete=FAST")
        yield db


def _text(message_id: bytes) -> str:
    """An id as people read and type it: percent-encoded where it is not plain."""
    return quote_from_bytes(message_id, safe="")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _arguments() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    name = "python3 -m face_messages.dead_letters"
    parser = argparse.ArgumentParser(prog=name, description=_ABOUT, formatter_class=raw)
    default = os.environ.get("OUTBOX_PATH") or OutboxSettings.model_fields["outbox_path"].default
    parser.add_argument("--outbox", type=Path, default=Path(default), help="its file [OUTBOX_PATH: %(default)s]")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="one line for each message")
    commands.add_parser("export", help="write them into a new folder").add_argument("folder", type=Path)
    for name, about in (("retry", "have them sent again"), ("discard", "delete them for good")):
        command = commands.add_parser(name, help=f"{about}; the program must be stopped")
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", default=[], metavar="ID", help="as `list` shows it")
        which.add_argument("--all", action="store_true", help="all dead letters")
        if name == "discard":
            command.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _lines(asked: argparse.Namespace) -> Iterator[str]:
    if asked.command == "list":
        return show(asked.outbox)
    if asked.command == "export":
        return export(asked.outbox, asked.folder)
    ids = None if asked.all else asked.ids
    return retry(asked.outbox, ids) if asked.command == "retry" else discard(asked.outbox, ids, sure=asked.yes)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 when it was not done (2 for wrong arguments)."""
    parser = _arguments()
    asked = parser.parse_args(argv)
    if not asked.outbox.is_file():
        parser.error(f"there is no file {asked.outbox}: set OUTBOX_PATH, or use --outbox")
    try:
        for line in _lines(asked):
            print(line)  # noqa: T201 - it is for a terminal
    except (DeadLetterError, OSError, sqlite3.Error) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
