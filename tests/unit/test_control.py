"""What the pause switch makes of what it hears, and that it knows it after a restart."""

import logging
from pathlib import Path

import pytest

from dev.stack.clip import PICTURE
from edge_face_detection.pause import PauseSwitch
from edge_face_detection.sources.picture_files import Pictures
from edge_face_detection.sources.recorded import RecordedSource
from face_messages.message import Message, Received, UnreadablePublish

TOPIC = "facedetection_control/tx2/door"


class Camera:
    """A source with its switch, as after a start of the program."""

    def __init__(self, folder: Path) -> None:
        self.source = RecordedSource(Pictures(PICTURE, [PICTURE]), realtime=False, loop=True)
        self.switch = PauseSwitch(self.source, topic=TOPIC, outbox=folder / "outbox.db")

    def hear(self, *words: bytes) -> bool:
        """Whether it is paused then."""
        for word in words:
            self.switch.received(Received(Message(TOPIC, word)))
        return self.source.paused


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


@pytest.mark.parametrize("word", [b"pause", b"PAUSE", b" Pause\r\n"])
def test_pause_pauses(camera: Camera, word: bytes) -> None:
    """However it is written."""
    assert camera.hear(word)


@pytest.mark.parametrize("word", [b"resume", b"RESUME", b" Resume\n", b""])
def test_resume_or_a_cleared_message_resumes(camera: Camera, word: bytes) -> None:
    assert not camera.hear(b"pause", word)


@pytest.mark.parametrize(
    "word",
    [
        b"stop",
        b"pause please",
        b"\xff\xfe",
        b"pause\0",
        b'{"pause": false}',
        b"resume" * 20,
        b" ",
        b" " * 100_000,
        b"0",
    ],
)
def test_anything_else_changes_nothing_and_is_told_once(
    camera: Camera, word: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is paused or not; in one short line that says what is known."""
    assert not camera.hear(word, word)
    (line,) = caplog.messages
    assert "pause and resume are known" in line
    assert TOPIC in line
    assert len(line) < 300
    assert line.isprintable()
    assert camera.hear(b"pause", word)
    assert len(caplog.messages) == 2


def test_what_cannot_be_read_changes_nothing(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    camera.hear(b"pause")
    camera.switch.received(UnreadablePublish(TOPIC, None, 20_000_000, "too large"))
    assert camera.source.paused
    assert len(caplog.messages) == 1


def test_each_change_is_told_once(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    camera.hear(b"resume", b"pause", b"pause", b"resume", b"")
    assert [message.split(",")[0] for message in caplog.messages] == ["paused", "resumed"]
    assert camera.switch.pauses == 1


@pytest.mark.parametrize(("words", "paused"), [([], False), ([b"pause"], True), ([b"pause", b"resume"], False)])
def test_what_was_said_last_holds_after_a_restart(tmp_path: Path, words: list[bytes], paused: bool) -> None:
    """Before any broker has told it."""
    Camera(tmp_path).hear(*words)
    assert Camera(tmp_path).source.paused is paused


def test_a_pause_that_cannot_be_noted_is_a_pause_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a line that says what it is not good for."""
    camera = Camera(tmp_path / "gone")
    assert camera.hear(b"pause")
    assert "a restart will not know" in caplog.text
    assert not camera.hear(b"resume")
