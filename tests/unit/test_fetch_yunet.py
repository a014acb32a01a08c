"""`make yunet` fetches the model, and keeps no other file."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "dev" / "scripts" / "yunet.py"
FILE = "face_detection_yunet_2023mar.onnx"


class _Server(http.server.ThreadingHTTPServer):
    content = b""
    requests = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200 if self.server.content else 404)
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _fetch(server: _Server, folder: Path) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{server.server_port}/{FILE}"
    command = [sys.executable, str(SCRIPT), str(folder), "--url", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_PROXY": "*"})


def test_the_model_is_fetched_once_with_its_source_and_licence_named(server: _Server, tmp_path: Path) -> None:
    if "YUNET_MODEL" not in os.environ:
        pytest.skip("YUNET_MODEL does not name YuNet's model")
    server.content = Path(os.environ["YUNET_MODEL"]).read_bytes()
    for _ in range(2):
        done = _fetch(server, tmp_path / "models")
        assert done.returncode == 0, done.stderr
        assert "MIT" in done.stdout
        assert str(server.server_port) in done.stdout
    assert (tmp_path / "models" / FILE).read_bytes() == server.content
    assert server.requests == 1


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", b"x" * 2_000_000])
def test_another_file_is_not_kept(server: _Server, tmp_path: Path, content: bytes) -> None:
    """Nothing, a pointer to the file, too much."""
    server.content = content
    done = _fetch(server, tmp_path)
    assert done.returncode == 1
    assert "was not fetched" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_anew_and_stays_where_that_fails(server: _Server, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"cut off")
    assert _fetch(server, tmp_path).returncode == 1
    assert (tmp_path / FILE).read_bytes() == b"cut off"
