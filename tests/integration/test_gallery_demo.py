"""The gallery of the demo: open while it runs, after it on a terminal, and again later."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.programs import ROOT


def run(folder: Path, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dev.stack", *words, "--folder", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, start_new_session=True)


def printed(terminal: int, pattern: str) -> str:
    """What is found in what it prints, as soon as it is there."""
    said = ""
    while not (found := re.search(pattern, said)):
        said += os.read(terminal, 4096).decode()
    return found[1]


def test_on_a_terminal_it_stays_open_until_it_is_interrupted(tmp_path: Path) -> None:
    """After the clip too; then again over what is left. The demo's result is the exit status."""
    for words in (("demo", "--seconds", "3"), ("gallery",)):
        terminal, end = pty.openpty()
        with run(tmp_path / "demo", *words, stdout=end) as demo:
            os.close(end)
            url = printed(terminal, r"stays open until Ctrl-C: (http://127\.0\.0\.1:\d+/)")
            with urllib.request.urlopen(f"{url}api/faces") as answer:
                assert answer.read().count(b"faces/demo/camera/") > 10
            os.killpg(demo.pid, signal.SIGINT)
            assert demo.wait(20) == 0
        os.close(terminal)


def test_without_a_demo_it_says_what_to_do(tmp_path: Path) -> None:
    with run(tmp_path, "gallery") as gallery:
        _, err = gallery.communicate(timeout=30)
    assert gallery.returncode == 1
    assert err == f"demo: {tmp_path} holds no faces of a demo: make demo\n"
