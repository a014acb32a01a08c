"""Where Alpine's C library differs from others, and a program might notice."""

from __future__ import annotations

import pytest

from tests.containers.engine import PROGRAMS, docker, in_container

IN_A_THREAD = """
import json, sys, threading
from face_messages.service.program import run
from face_messages.service.settings import ProgramSettings

def read_nested():
    try:
        json.loads("[" * 100_000)
    except RecursionError:
        print("refused")

def work(settings, stop):
    thread = threading.Thread(target=read_nested)
    thread.start()
    thread.join()
    return 0

sys.exit(run(ProgramSettings, work, name="deep", about=""))
"""


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("image", PROGRAMS)
def test_deeply_nested_json_is_refused_in_any_thread(image: str) -> None:
    """With musl's stacks, or those of Alpine's Python, the process would be gone."""
    options = ("--rm", "--network", "none", "--entrypoint", "python3")
    assert docker("run", *options, image, "-c", IN_A_THREAD) == "refused\n"


@pytest.mark.usefixtures("images")
def test_text_is_utf_8_whatever_the_locale() -> None:
    """Alpine has no locales, and none is needed."""
    script = "import sys; print(sys.stdout.encoding, sys.getfilesystemencoding(), '\\u00e4')"
    options = ("--rm", "--env", "LANG=de_DE.ISO-8859-1", "--entrypoint", "python3")
    assert docker("run", *options, "edge_forwarder", "-c", script).split() == ["utf-8", "utf-8", "ä"]


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("name", PROGRAMS)
def test_names_are_asked_of_docker_alone(name: str) -> None:
    """Of several, the C library takes the answer that comes first; Docker asks the host's in their order."""
    lines = in_container(name, "cat /etc/resolv.conf").splitlines()
    assert [line.split()[1] for line in lines if line.startswith("nameserver")] == ["127.0.0.11"]
