"""`python -m dev.bench.keeper URL COUNT`: takes messages from a broker, sends receipts, counts, keeps nothing.

To the forwarder it is like the saver, without the storing. When it has `COUNT` different messages, it prints the
seconds from the first to the last of them.
"""

import logging
import re
import sys
import threading
import time
from pathlib import Path

from dev.bench.measure import wait_until
from dev.bench.traffic import connected_to
from dev.stack.mosquitto import Mosquitto
from dev.stack.pictures import number_of
from dev.stack.processes import ManagedProcess
from dev.stack.programs import PythonProcess
from face_messages import BrokerUrl, Session, Taken, Taker
from face_messages.message import TOPIC


class Keeper(PythonProcess):
    """A keeper in a process of its own, at a broker."""

    def __init__(self, broker: Mosquitto, folder: Path, *, count: int) -> None:
        self._count = count
        super().__init__(
            "keeper",
            ["dev.bench.keeper", broker.url, str(count)],
            {},
            log=folder / "keeper.log",
            ready=lambda: connected_to(broker) in self.log_text(),
        )

    def messages_per_second(self, *, watched: list[ManagedProcess]) -> float:
        """Wait until all messages have come; their rate, from the first to the last."""
        what = f"{self._count} messages at the cloud broker"
        seconds = 60 + self._count / 50
        wait_until(lambda: self._seconds() > 0, watched=[self, *watched], what=what, seconds=seconds)
        return (self._count - 1) / self._seconds()

    def _seconds(self) -> float:
        # With the end of the line, which may just be being written.
        told = re.search(r"^seconds (\S+)\n", self.log_text(), re.MULTILINE)
        return float(told[1]) if told else 0.0


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    url, count = BrokerUrl.parse(sys.argv[1]), int(sys.argv[2])
    seen: dict[int | None, float] = {}
    done = threading.Event()

    def take(taken: Taken) -> None:
        seen.setdefault(number_of(taken.message.payload), time.monotonic())
        taken.safe()
        if len(seen) == count:
            done.set()

    taker = Taker(TOPIC, take)
    Session(url, client_id="keeper", endpoint=taker, receive_maximum=1000).start()
    done.wait()
    print("seconds", max(seen.values()) - min(seen.values()), flush=True)
    # Stays to answer messages that are sent again, until it is ended.
    threading.Event().wait()


if __name__ == "__main__":
    main()
