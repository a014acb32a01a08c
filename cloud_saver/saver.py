"""Take from the cloud broker, write to the bucket, and only then let go."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue

from cloud_saver.keys import StoredObject, object_for
from cloud_saver.parking import Parking
from cloud_saver.problems import Problem, StoreError
from cloud_saver.settings import SaverSettings
from cloud_saver.store import Store
from face_messages import Connection, Monitor, Taken, Taker, program
from face_messages.backoff import Backoff
from face_messages.metrics import show_connection, show_taker
from face_messages.settings import broker_url

log = logging.getLogger(__name__)

# Messages per worker that the broker may send ahead, so that no worker waits for the network.
_AHEAD = 4
# Keys of objects stored lately: a message that was sent again for want of a receipt is not written again.
_REMEMBERED = 20_000
# Messages after a start that may have been stored before it: about what the senders' windows hold.
_IN_DOUBT = 512
_SETTLE_SECONDS = 4.0
# A member of a group that is gone must not hoard messages for long: the broker keeps them for it alone.
_GROUP_SESSION_SECONDS = 30


@dataclass(slots=True)
class _Job:
    stored: StoredObject
    waiting: list[Taken]
    refused: Backoff | None = None


class Saver:
    """Writes what it takes with a number of worker threads; a message is safe when the store has said so.

    Args:
        store: the bucket.
        workers: objects written at the same time.

    """

    def __init__(self, store: Store, *, workers: int) -> None:
        self._store = store
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._parking: Parking[_Job] = Parking(self._jobs.put)
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], _Job] = {}
        self._done: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._started = datetime.now(UTC)
        self._in_doubt = _IN_DOUBT
        self._trouble: StoreError | None = None
        self._trouble_since = 0.0
        self._store_works = threading.Condition()
        #: Told the seconds from capture to storage of each face.
        self.observe_latency: Callable[[float], None] = lambda _seconds: None
        #: Objects written, writes that failed, and messages that were stored already, since the start.
        self.stored = 0
        self.failed = 0
        self.repeated = 0
        for i in range(workers):
            # Daemons: a thread that hangs on a dead store must not hold up the end of the program.
            threading.Thread(target=self._work, name=f"worker {i}", daemon=True).start()

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be stored at present, or None."""
        return self._trouble

    def take(self, taken: Taken) -> None:
        """Called in the connection's thread with each message."""
        stored = object_for(taken.message, received_at=datetime.now(UTC))
        # The same key with another picture is somebody's mistake, but not a message that came twice.
        name = (stored.key, hash(stored.body))
        with self._lock:
            if name in self._done:
                self.repeated += 1
            elif (job := self._pending.get(name)) is not None:
                self.repeated += 1
                job.waiting.append(taken)
                return
            else:
                job = self._pending[name] = _Job(stored, [taken])
                self._jobs.put(job)
                return
        taken.safe()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self._put_until_stored(job.stored, in_doubt=self._may_be_stored(job.stored))
            except StoreError as error:
                self._park(job, error)
                continue
            name = (job.stored.key, hash(job.stored.body))
            with self._lock:
                del self._pending[name]
                self._done[name] = None
                if len(self._done) > _REMEMBERED:
                    self._done.popitem(last=False)
                self.stored += 1
            if job.stored.captured_at is not None:
                self.observe_latency((datetime.now(UTC) - job.stored.captured_at).total_seconds())
            for taken in job.waiting:
                taken.safe()

    def _may_be_stored(self, stored: StoredObject) -> bool:
        """Whether another saver, or this one before its restart, may have written it and died before it said so."""
        if self._in_doubt <= 0 or (stored.captured_at is not None and stored.captured_at > self._started):
            return False
        self._in_doubt -= 1
        return True

    def _put_until_stored(self, stored: StoredObject, *, in_doubt: bool) -> None:
        """Asks the store first where the object may be there already: that is cheaper than to write it twice.

        Raises:
            StoreError: the store refuses this very object.

        """
        backoff = Backoff(first=0.5, longest=30.0)
        while True:
            try:
                if not (in_doubt and self._store.has(stored)):
                    in_doubt = True  # from here on: a write whose answer got lost may have been done
                    self._store.put(stored)
            except StoreError as error:
                with self._lock:
                    self.failed += 1
                if error.problem is Problem.REFUSED:
                    raise
                self._say_trouble(error)
            else:
                self._say_works()
                return
            with self._store_works:
                self._store_works.wait(backoff.next_delay())

    def _park(self, job: _Job, error: StoreError) -> None:
        """It is about this object alone: it must neither hold up others, nor be taken for a trouble of the store."""
        if job.refused is None:
            job.refused = Backoff(first=1.0, longest=300.0)
            log.error("%s: %s; it waits and is tried again", job.stored.key, error)
        self._parking.park(job, job.refused.next_delay())

    @property
    def refused(self) -> int:
        """Objects that wait because the store refuses them, at present."""
        return len(self._parking)

    def _say_trouble(self, error: StoreError) -> None:
        with self._lock:
            known, self._trouble = self._trouble, error
            if known is None:
                self._trouble_since = time.monotonic()
        if known is None or known.problem is not error.problem:
            log.error("%s; faces wait and are tried again until it works", error)

    def _say_works(self) -> None:
        if self._trouble is None:
            return
        with self._lock:
            known, self._trouble = self._trouble, None
        if known is not None:
            log.info("the store works again after %.0f s", time.monotonic() - self._trouble_since)
            with self._store_works:
                self._store_works.notify_all()


def work(settings: SaverSettings, stop: program.Stop) -> int:
    """Runs until `stop` is set."""
    saver = Saver(Store(settings), workers=settings.saver_workers)
    taker = Taker(settings.mqtt_topic, saver.take, group=settings.saver_group)
    connection = Connection(
        broker_url(settings.mqtt_url),
        client_id=settings.client_id,
        endpoint=taker,
        tls=settings.tls,
        session_expiry=_GROUP_SESSION_SECONDS if settings.saver_group else 24 * 3600,
        keep_session=not settings.saver_group,
        receive_maximum=settings.saver_workers * _AHEAD,
    )
    taker.wake = connection.wake
    monitor = Monitor()
    monitor.counter("objects_stored", "objects written to the bucket", lambda: saver.stored)
    monitor.counter("store_failures", "writes that failed and were tried again", lambda: saver.failed)
    monitor.counter("messages_repeated", "messages that came again and were stored already", lambda: saver.repeated)
    monitor.gauge("objects_refused", "objects that wait because the store refuses them", lambda: saver.refused)
    monitor.gauge("store_up", "1 while the store takes objects", lambda: saver.trouble is None)
    monitor.state("store", lambda: str(saver.trouble or "well"))
    buckets = (0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
    latency = monitor.histogram("latency_seconds", "from the frame's capture to the object stored", buckets)
    saver.observe_latency = latency.observe
    show_taker(monitor, taker)
    show_connection(monitor, connection, "cloud")
    with program.monitored(monitor, settings):
        log.info("started: faces go to bucket %s at %s", settings.cos_bucket, settings.cos_endpoint)
        connection.start()
        stop.wait()
        taker.stop_taking()
        deadline = time.monotonic() + _SETTLE_SECONDS
        while taker.held and time.monotonic() < deadline:
            time.sleep(0.01)
        connection.stop()
        log.info("stopped: taken=%d stored=%d unstored=%d", taker.taken, saver.stored, taker.held)
    return 0
