"""The command for the dead letters of an outbox."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from face_messages import Message, Outbox
from face_messages.dead_letters import main
from tests.support.parts import MIB, put_and_wait
from tests.support.waiting import eventually

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HOSTILE = [
    b"..",
    b"../../../tmp/evil",
    b"/etc/passwd",
    b"a/b\\c",
    b"\x1b[2J\x07",
    b"\x00",
    b"~",
    b"x" * 512,
    b"x" * 511 + b"y",
    b"CON.json",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An outbox of a program that is not running: `waits` is to be sent, `p1` and `p2` are dead letters."""
    path = tmp_path / "o.db"
    make(path, {b"waits": PNG, b"p1": PNG, b"p2": b"no picture"}, dead=[b"p1", b"p2"])
    return path


def make(path: Path, payloads: dict[bytes, bytes], *, dead: list[bytes], reason: str = "too large") -> None:
    outbox = Outbox(path, max_bytes=64 * MIB)
    properties = (("id", "1"), ("id", "1"), ("é", "☃"))
    put_and_wait(outbox, [(i, Message("t/é", p, "image/png", properties)) for i, p in payloads.items()])
    for message_id in dead:
        outbox.dead_letter(message_id, reason)
    eventually(lambda: outbox.totals.dead_letters == len(dead))
    outbox.close()


def counts(path: Path) -> tuple[int, int]:
    """Messages to be sent and dead letters, as the program finds them at its next start."""
    outbox = Outbox(path, max_bytes=64 * MIB)
    try:
        return len(outbox), outbox.totals.dead_letters
    finally:
        outbox.close()


def run(path: Path, *args: str) -> int:
    return main(["--outbox", str(path), *args])


@pytest.fixture
def locked(path: Path) -> Iterator[None]:
    """As long as a program runs on the outbox."""
    with path.with_name("o.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def test_list_tells_the_dead_letters_and_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, and what they take up."""
    assert run(path, "list") == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.startswith("p1  20")
    assert first.endswith(f"  {len(PNG)} bytes  t/é  too large")
    assert second.startswith("p2  ")
    assert total.startswith("2 dead letters take up ")


def test_the_command_finds_the_outbox_by_its_setting(path: Path) -> None:
    """As in the container: `python3 -m face_messages.dead_letters list`."""
    env = os.environ | {"OUTBOX_PATH": str(path)}
    command = [sys.executable, "-m", "face_messages.dead_letters", "list"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("p1  ")
    assert done.stderr == ""


@pytest.mark.usefixtures("locked")
def test_list_and_export_work_while_the_program_runs(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And see what became one a moment ago."""
    outbox = Outbox(tmp_path / "running.db", max_bytes=64 * MIB)
    try:
        put_and_wait(outbox, [(b"new", Message("t", PNG))])
        outbox.dead_letter(b"new", "refused")
        eventually(lambda: outbox.totals.dead_letters == 1)
        assert run(tmp_path / "running.db", "list") == 0
        assert capsys.readouterr().out.startswith("new  ")
        assert run(tmp_path / "running.db", "export", str(tmp_path / "out")) == 0
        assert (tmp_path / "out" / "new.png").read_bytes() == PNG
    finally:
        outbox.close()
    assert run(path, "list") == 0


def test_export_writes_payloads_and_what_is_known_of_them(path: Path, tmp_path: Path) -> None:
    """Byte for byte, and nothing of what is yet to be sent."""
    out = tmp_path / "new" / "folder"
    assert run(path, "export", str(out)) == 0
    assert sorted(file.name for file in out.iterdir()) == ["p1.json", "p1.png", "p2.bin", "p2.json"]
    assert (out / "p1.png").read_bytes() == PNG
    assert (out / "p2.bin").read_bytes() == b"no picture"
    about = json.loads((out / "p1.json").read_text())
    assert about.pop("kept_at").startswith("20")
    assert about == {
        "id": "p1",
        "reason": "too large",
        "topic": "t/é",
        "content_type": "image/png",
        "user_properties": [["id", "1"], ["id", "1"], ["é", "☃"]],
        "file": "p1.png",
    }
    assert counts(path) == (1, 2)


def test_export_overwrites_nothing(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even its own files of last time."""
    out = tmp_path / "out"
    assert run(path, "export", str(out)) == 0
    (out / "p1.png").write_bytes(b"mine")
    assert run(path, "export", str(out)) == 1
    assert "name a new folder" in capsys.readouterr().err
    assert (out / "p1.png").read_bytes() == b"mine"


def test_hostile_ids_and_reasons_stay_in_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file outside of the folder, no two in one, and no control characters on the terminal."""
    path, out = tmp_path / "o.db", tmp_path / "a" / "b" / "out"
    make(path, {i: PNG + i for i in HOSTILE}, dead=HOSTILE, reason="\x1b]0;owned\x07\r\n")
    before = set(tmp_path.iterdir())
    assert run(path, "export", str(out)) == 0
    assert run(path, "list") == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / "a"}
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"]
    assert list((tmp_path / "a" / "b").iterdir()) == [out]
    assert {file.read_bytes() for file in out.glob("*.png")} == {PNG + i for i in HOSTILE}
    assert len(list(out.iterdir())) == 2 * len(HOSTILE)
    assert not any(file.name.startswith(".") for file in out.iterdir())
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("message_id", HOSTILE)
def test_an_id_can_be_typed_as_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], message_id: bytes
) -> None:
    """Whatever bytes it is made of."""
    path = tmp_path / "o.db"
    make(path, {message_id: PNG, b"other": PNG}, dead=[message_id, b"other"])
    assert run(path, "list") == 0
    shown = capsys.readouterr().out.split("  ")[0]
    assert run(path, "discard", "--yes", shown) == 0
    assert counts(path) == (0, 1)


def test_retry_lets_the_named_ones_be_sent_again(path: Path) -> None:
    """In their old place, as a sender begins with the oldest when it starts."""
    assert run(path, "retry", "p1") == 0
    outbox = Outbox(path, max_bytes=64 * MIB)
    try:
        assert [kept.id for kept in outbox.take(0, limit=10, max_bytes=MIB)] == [b"waits", b"p1"]
        assert (len(outbox), outbox.totals.dead_letters) == (2, 1)
    finally:
        outbox.close()


def test_retry_all(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And it says how many."""
    assert run(path, "retry", "--all") == 0
    assert "2 messages are sent again" in capsys.readouterr().out
    assert counts(path) == (3, 0)


def test_discard_deletes_dead_letters_and_nothing_else(path: Path) -> None:
    """All, or the named ones."""
    assert run(path, "discard", "--yes", "p2") == 0
    assert counts(path) == (1, 1)
    assert run(path, "discard", "--all", "--yes") == 0
    assert counts(path) == (1, 0)


@pytest.mark.parametrize("wrong", ["unknown", "waits"])
@pytest.mark.parametrize("command", [["retry"], ["discard", "--yes"]], ids=["retry", "discard"])
def test_an_id_that_is_no_dead_letter_changes_nothing(
    path: Path, command: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor do the right ones beside it: all or none."""
    assert run(path, *command, "p1", wrong) == 1
    assert f"{wrong} is no dead letter" in capsys.readouterr().err
    assert counts(path) == (1, 2)


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("command", [["retry", "--all"], ["discard", "--all", "--yes"]], ids=["retry", "discard"])
def test_nothing_is_changed_behind_a_running_program(
    path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how to stop it."""
    assert run(path, *command) == 1
    assert "stop the program first" in capsys.readouterr().err
    assert run(path, "list") == 0
    assert "2 dead letters" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("yes\n", 0), ("n\n", 2), ("\n", 2)])
def test_discard_asks_first(path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    """On a terminal; whatever is no clear yes is a no."""
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(path, "discard", "--all") == (1 if left else 0)
    assert counts(path) == (1, left)


def test_discard_without_a_terminal_wants_to_be_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that forgot --yes deletes nothing."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run(path, "discard", "--all") == 1
    assert "--yes" in capsys.readouterr().err
    assert counts(path) == (1, 2)


@pytest.mark.parametrize(
    "args",
    [["retry"], ["discard", "--yes"], ["retry", "p1", "--all"], ["export"], ["everything"], []],
    ids=" ".join,
)
def test_unclear_commands_are_refused(path: Path, args: list[str]) -> None:
    """To name none is not to name all."""
    with pytest.raises(SystemExit) as ended:
        run(path, *args)
    assert ended.value.code == 2
    assert counts(path) == (1, 2)


def test_a_missing_outbox_is_said_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is its lock."""
    with pytest.raises(SystemExit):
        run(tmp_path / "typo.db", "retry", "--all")
    assert "set OUTBOX_PATH" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_outbox_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an error instead of a traceback."""
    path = tmp_path / "o.db"
    path.write_bytes(b"something else" * 1000)
    for command in (["list"], ["retry", "--all"]):
        assert run(path, *command) == 1
        assert "not a database" in capsys.readouterr().err
    assert path.read_bytes() == b"something else" * 1000
