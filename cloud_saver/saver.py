"""Takes messages from the cloud broker, writes each to the bucket, and only then lets go."""

import contextlib
import logging
import sched
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue

from cloud_saver.state import StoreState
from cloud_saver.writer import Writer
from face_messages import Taken
from face_messages.service.backoff import Backoff
from object_store.bucket import Bucket, Put
from object_store.errors import MAYBE_THE_OBJECT, AskAgainError, Problem, StoreError
from object_store.keys import StoredObject, note_about, object_for

log = logging.getLogger(__name__)

# Messages per worker that the broker may send ahead, so that no worker waits for the network.
_AHEAD = 4
# Keys of objects stored lately: a message that was sent again for want of a receipt is not written again.
_REMEMBERED = 20_000
# Messages after a start that may have been stored before it: about what the senders' windows hold.
_IN_DOUBT = 512
# Attempts before the store's refusal of an object is final: proxies fail for seconds at a time.
_TRIES = 4


@dataclass(slots=True)
class _Job:
    stored: StoredObject
    waiting: list[Taken]
    #: Whether the store may have it already.
    in_doubt: bool = False
    #: What went wrong, and when that write began (monotonic).
    failed: tuple[StoreError, float] | None = None
    refusals: int = 0
    pause: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> tuple[str, bytes]:
        # The same key with another picture is somebody's mistake, but not a message that came twice.
        return self.stored.key, self.stored.md5


class Saver:
    """Writes messages, `workers` of them at the same time. A message is safe when the store has said so.

    One thread writes over open connections. What has to wait is a worker's, in a thread of its own: a new connection, a
    store in trouble, an object that may be there already or that the store has refused.
    """

    def __init__(self, store: Bucket, *, workers: int) -> None:
        self._store = store
        #: Messages that it takes at a time.
        self.window = workers * _AHEAD
        self._workers = workers
        self._jobs: deque[_Job] = deque()
        self._blocking: SimpleQueue[_Job] = SimpleQueue()
        self._busy = 0  # jobs that are being written, in either way
        self._writer = Writer(self._next, self._ended)
        self._parked = sched.scheduler(time.monotonic)
        self._parked_more = threading.Event()
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, bytes], _Job] = {}
        self._done: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._started = datetime.now(UTC)
        self._in_doubt = _IN_DOUBT
        self._place_lock = threading.Lock()
        self._place_is_right = False
        self._state = StoreState()
        #: Called with each object that was stored, and with a face's seconds from capture to storage.
        self.on_stored: Callable[[StoredObject, float | None], None] = lambda _stored, _latency: None
        self._known_impostors: set[str] = set()  # no more than edges are enrolled
        #: Since the start: objects written, objects the store refused for good, writes that failed, messages that were
        #: stored already, and faces in the name of another edge than the one that sent them.
        self.stored = 0
        self.refused = 0
        self.failed = 0
        self.repeated = 0
        self.impostors = 0
        # Daemons: a thread that hangs on a dead store must not hold up the end of the program.
        for i in range(workers):
            threading.Thread(target=self._work, name=f"worker {i}", daemon=True).start()
        threading.Thread(target=self._unpark, name="parking", daemon=True).start()
        self._writer.start()

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be stored at present, or None."""
        return self._state.trouble

    @property
    def parked(self) -> int:
        """Objects that wait at present because the store refuses them."""
        return len(self._parked.queue)

    def take(self, taken: Taken) -> None:
        """Called in the connection's thread with each message."""
        job = _Job(object_for(taken.message, received_at=datetime.now(UTC)), [taken])
        if job.stored.captured_at is None and (identity := job.stored.metadata.get("identity")):
            self._say_impostor(identity, job.stored.metadata["source"])
        with self._lock:
            if job.name in self._done:
                self.repeated += 1
            elif (same := self._pending.get(job.name)) is not None:
                self.repeated += 1
                same.waiting.append(taken)
                return
            else:
                self._pending[job.name] = job
                self._give(job)
                return
        taken.safe()

    def _give(self, job: _Job) -> None:
        self._jobs.append(job)
        self._writer.wake()

    def _next(self) -> tuple[_Job, Put] | None:
        """Called by the writer."""
        while self._jobs and self._busy < self._workers:
            job = self._jobs.popleft()
            with self._lock:
                self._busy += 1
            # Some stores let nothing be written over, so what was refused may be there.
            job.in_doubt = job.refusals > 0 or self._may_be_stored(job.stored)
            if self._place_is_right and self._state.trouble is None and not job.in_doubt:
                with contextlib.suppress(StoreError):  # a worker meets it again, and deals with it
                    if (put := self._store.start_put(job.stored)) is not None:
                        return job, put
            self._blocking.put(job)
        return None

    def _ended(self, job: _Job, began: float, error: StoreError | None) -> None:
        """Called by the writer."""
        if error is None:
            self._let_go(job)
        else:
            job.in_doubt = True
            job.failed = None if isinstance(error, AskAgainError) else (error, began)
            self._blocking.put(job)

    def _work(self) -> None:
        while True:
            job = self._blocking.get()
            try:
                self._put_until_stored(job)
            except StoreError as error:
                self._park(job, error)
            else:
                self._let_go(job)
            self._writer.wake()

    def _let_go(self, job: _Job) -> None:
        """Forgets a job whose object is stored, and tells so."""
        with self._lock:
            self._busy -= 1
            del self._pending[job.name]
            self._done[job.name] = None
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
            self.stored += 1
        self._state.works()  # whoever this wakes reads the count
        captured_at = job.stored.captured_at
        self.on_stored(job.stored, (datetime.now(UTC) - captured_at).total_seconds() if captured_at else None)
        for taken in job.waiting:
            taken.safe()

    def _put_until_stored(self, job: _Job) -> None:
        """Asks the store first where the object may be there already: that costs less than writing it twice.

        Raises StoreError if the store refuses the object; the last time, though it takes others.
        """
        in_doubt, failed = job.in_doubt, job.failed
        takes_others, alone, last = False, 0, None
        backoff = Backoff(first=0.5, longest=30.0)
        while True:
            began = time.monotonic()
            try:
                if failed is not None:
                    (error, began), failed = failed, None
                    raise error
                if not (in_doubt and self._store.has(job.stored)):
                    in_doubt = True  # from here on: a write whose answer got lost may have been done
                    self._store.put(job.stored)
                self._check_place(job.stored.key)
            except StoreError as error:
                with self._lock:
                    self.failed += 1
                if error.problem not in MAYBE_THE_OBJECT:
                    alone = alone + 1 if takes_others else 0
                    if alone == _TRIES:
                        log.warning("%s cannot be stored, though others can: %s; retrying", job.stored.key, error)
                    # A store that has just come up fails once for some requests, while others succeed.
                    if not alone and (error.problem is not Problem.FAILING or last is Problem.FAILING):
                        self._state.fails(error, began)
                elif takes_others or job.refusals + 1 < _TRIES:
                    raise
                elif self._takes(note_about(job.stored, str(error))):
                    takes_others = True  # perhaps since a moment ago only: what it says to the object now is final
                    continue
                last = error.problem
            else:
                return
            stored = self.stored
            self._state.wait(backoff.next_delay())
            takes_others = self.stored > stored

    def _may_be_stored(self, stored: StoredObject) -> bool:
        """Whether another saver, or this one before its restart, may have written it and died before it said so."""
        if self._in_doubt <= 0 or (stored.captured_at is not None and stored.captured_at > self._started):
            return False
        self._in_doubt -= 1
        return True

    def _check_place(self, key: str) -> None:
        """Looks once, before the first object is safe, whether objects lie where others will look for them."""
        if not self._place_is_right:
            with self._place_lock:
                if not self._place_is_right:
                    self._store.check_place(key)
                    self._place_is_right = True

    def _takes(self, note: StoredObject) -> bool:
        """Whether the store takes anything at all."""
        began = time.monotonic()
        try:
            self._store.put(note)
        except StoreError as error:
            self._state.fails(error, began)
            return False
        self._state.works()
        return True

    def _park(self, job: _Job, error: StoreError) -> None:
        """Parks an object that the store refuses, so that it holds up no others. After the last try it goes back."""
        job.refusals += 1
        job.failed = None
        with self._lock:
            self._busy -= 1
        if job.refusals >= _TRIES:
            with self._lock:
                job.waiting = [taken for taken in job.waiting if not taken.refuse(str(error))]
                if not job.waiting:
                    del self._pending[job.name]
                self.refused += job.refusals == _TRIES
            if job.refusals == _TRIES:
                fate = "it goes back to its sender, which keeps it as a dead letter"
                if job.waiting:
                    job.pause = Backoff(first=30.0, longest=300.0)
                    fate = f"it has no sender to go back to and is held; {self.window} such keep all others out"
                log.error("%s (%d bytes): %s; %s", job.stored.key, len(job.stored.body), error, fate)
        if job.waiting:
            self._parked.enter(job.pause.next_delay(), 0, self._give, (job,))
            self._parked_more.set()

    def _unpark(self) -> None:
        while True:
            self._parked_more.wait(self._parked.run(blocking=False))
            self._parked_more.clear()

    def _say_impostor(self, identity: str, source: str) -> None:
        self.impostors += 1
        if identity not in self._known_impostors:
            self._known_impostors.add(identity)
            log.warning(
                "%s sends faces as %s: they are filed as unattributed; its EDGE_ID must be the name on its certificate",
                identity,
                source,
            )
