"""`python -m dev.stack.producer`: the detector's own outbox and sender, with numbered pictures in a camera's place.

`Producer` starts it and gives its settings as environment variables. It notes each picture that the outbox has
confirmed to hold in a journal: these faces must not be lost.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from dev.stack.pictures import EDGE_ID, face_event, numbered_picture
from dev.stack.programs import PythonProcess
from face_messages import BrokerUrl, Outbox, Sender, Session
from face_messages.message import TOPIC
from face_messages.service import logs

# Each start of the producer has its own range of numbers, so that it never uses a number twice.
_NUMBERS_A_START = 1_000_000
# Pictures that may wait for the outbox's disk, as in the detector.
_WAITING = 64


class Producer(PythonProcess):
    """A producer in a process of its own. It goes on where it was when it is killed and started again.

    `folder` holds its outbox, its journal and the files that give it orders. Settings: `rate`, faces a second; `size`,
    bytes of a picture; `count`, faces to make, else as many as come until `finish`; `burst`, faces that `begin_burst`
    orders, `burst_rate` a second, or 0 for as fast as it goes; `ahead`, unconfirmed faces at most, so that nothing
    gathers here, else as many as the outbox holds; `at_once`: 1 to begin before it has a connection; `first`, the
    number of the first face.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        name: str = "producer",
        edge_id: str = EDGE_ID,
        module: Sequence[str] = ("dev.stack.producer",),
        **settings: float,
    ) -> None:
        self._folder = folder
        env = {"MQTT_URL": url, "FOLDER": str(folder), "EDGE_ID": edge_id}
        env |= {setting.upper(): str(value) for setting, value in settings.items()}
        super().__init__(name, module, env, log=folder / "producer.log")

    def begin_burst(self) -> None:
        (self._folder / "burst").touch()

    def finish(self) -> None:
        """Make no further faces; the process ends when all it has made are confirmed."""
        (self._folder / "stop").touch()

    def numbers(self) -> set[int]:
        """The pictures that an outbox has confirmed to hold."""
        return {int(words[0]) for words in self._journal()}

    def ids(self) -> list[str]:
        """The ids of their events."""
        return [words[1] for words in self._journal()]

    def _journal(self) -> Iterator[list[str]]:
        path = self._folder / "journal"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return (line.split() for line in lines if line[0].isdigit() and line[-1] == "\n")


class Camera:
    """Numbered pictures by the settings in the environment, and the journal of the promised ones."""

    def __init__(self) -> None:
        self._folder = Path(os.environ["FOLDER"])
        path = self._folder / "journal"
        starts = path.read_text().count("start") if path.exists() else 0
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(self._file, b"start\n")
        self.first = int(setting("first")) + starts * _NUMBERS_A_START

    def note(self, number: int, event_id: str = "") -> None:
        # One write of a short line: a kill leaves it whole or not there.
        os.write(self._file, f"{number} {event_id}\n".encode())

    def is_to_stop(self) -> bool:
        return (self._folder / "stop").exists()

    def pictures(self) -> Iterator[tuple[int, bytes]]:
        """Pictures at the pace of the settings, with their numbers.

        A reader that was busy for long gets the pictures of the last second; nobody saw the earlier ones.
        """
        rate, size, count = setting("rate"), int(setting("size")), int(setting("count"))
        burst, burst_rate = int(setting("burst")), setting("burst_rate")
        due = time.monotonic()
        for number in itertools.count(self.first):
            if self.is_to_stop() or (count and number - self.first >= count):
                return
            yield number, numbered_picture(number, size)
            pause = 1 / rate
            if burst and (self._folder / "burst").exists():
                burst -= 1
                pause = 1 / burst_rate if burst_rate else 0.0
            due = max(due + pause, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))


def setting(name: str, default: float = 0) -> float:
    return float(os.environ.get(name.upper(), default))


def produce() -> None:
    camera = Camera()
    ahead = int(setting("ahead"))
    max_bytes = int(setting("outbox_max_bytes", 256 * 1024 * 1024))
    outbox = Outbox(Path(os.environ["FOLDER"], "producer.db"), max_bytes=max_bytes)
    outbox.gather_delay = 0.01  # as the detector's
    sender = Sender(outbox, client_id="producer")
    session = Session(BrokerUrl.parse(os.environ["MQTT_URL"]), client_id="producer", endpoint=sender)
    session.start()
    while not (setting("at_once") or session.is_up):
        time.sleep(0.01)
    room = threading.Semaphore(ahead or _WAITING)
    for made, (number, picture) in enumerate(camera.pictures(), start=1):
        room.acquire()
        event = face_event(number, os.environ["EDGE_ID"])

        def kept(number: int, event_id: str) -> None:
            camera.note(number, event_id)
            room.release()

        outbox.put(event.id.encode(), event.to_message(TOPIC, picture), partial(kept, number, event.id))
        while ahead and made - outbox.confirmed >= ahead and not camera.is_to_stop():
            time.sleep(0.001)
    for _ in range(ahead or _WAITING):
        room.acquire()
    while len(outbox):
        time.sleep(0.01)
    session.stop()
    outbox.close()


if __name__ == "__main__":
    logs.configure("info", "text")
    produce()
