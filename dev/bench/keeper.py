"""`python -m dev.bench.keeper URL COUNT`: takes messages from a broker, sends receipts, counts, keeps nothing.

What the saver is to the forwarder, without the storing. When it has `COUNT` different messages, it prints the seconds
from the first to the last of them.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from pathlib import Path

from dev.bench.measure import wait_until
from dev.bench.traffic import connected_to, number_of
from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess
from face_messages import BrokerUrl, Session, Taken, Taker
from face_messages.message import TOPIC

_RECEIVE_MAXIMUM = 1000


class Keeper(ManagedProcess):
    """A keeper in a process of its own, at a broker."""

    def __init__(self, broker: Mosquitto, folder: Path, *, count: int) -> None:
        self._count = count
        super().__init__(
            "keeper",
            [sys.executable, "-m", "dev.bench.keeper", broker.url, str(count)],
            log=folder / "keeper.log",
            ready=lambda: connected_to(broker) in self.log_text(),
        )

    def messages_per_second(self, *, watched: list[ManagedProcess]) -> float:
        """Waits until all messages have come; how fast they came, from the first to the last."""
        wait_until(
            lambda: self._seconds() is not None,
            watched=[self, *watched],
            what=f"{self._count} messages at the cloud broker",
            seconds=60 + self._count / 50,
        )
        seconds = self._seconds()
        assert seconds is not None
        return (self._count - 1) / seconds

    def _seconds(self) -> float | None:
        # With the end of the line, as it may be looked at while it is being written.
        told = re.search(r"^seconds (\S+)\n", self.log_text(), re.MULTILINE)
        return None if told is None else float(told[1])


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    url, count = BrokerUrl.parse(sys.argv[1]), int(sys.argv[2])
    seen: dict[int, float] = {}
    done = threading.Event()

    def take(taken: Taken) -> None:
        seen.setdefault(number_of(taken.message.payload), time.monotonic())
        taken.safe()
        if len(seen) == count:
            done.set()

    taker = Taker(TOPIC, take)
    session = Session(url, client_id="keeper", endpoint=taker, receive_maximum=_RECEIVE_MAXIMUM)
    session.start()
    done.wait()
    print("seconds", max(seen.values()) - min(seen.values()), flush=True)
    # Stays to answer what is sent again, until it is ended.
    threading.Event().wait()


if __name__ == "__main__":
    main()
