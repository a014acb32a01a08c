"""The project as Git for Windows clones it: what Linux runs has the ends of lines that Linux knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.programs import ROOT


def test_a_clone_with_autocrlf_has_no_crlf(tmp_path: Path) -> None:
    """Neither in scripts, nor in what they, compose and Mosquitto read; and its pictures are whole."""
    copy = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(copy)], check=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=copy, check=True, capture_output=True).stdout
    files = [copy / name.decode() for name in listed.split(b"\0") if name]
    assert len(files) > 200
    text = [path for path in files if path.suffix not in (".png", ".jpg") and b"\0" not in path.read_bytes()[:8000]]
    assert [str(path.relative_to(copy)) for path in text if b"\r\n" in path.read_bytes()] == []
    for path in (copy / "docs/gallery.png", copy / "cloud_mosquitto/face.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
