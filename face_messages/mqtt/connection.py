"""What sessions by MQTT and by AMQP have in common: a thread keeps up a connection to one of several brokers."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field

from face_messages.mqtt.client import Link
from face_messages.mqtt.endpoint import Endpoint
from face_messages.mqtt.url import BrokerUrl, TlsFiles
from face_messages.service.backoff import Backoff

log = logging.getLogger(__name__)

#: What goes out when the program stops has this long to get into the network.
FAREWELL_SECONDS = 2.0
# A connection that held this long was no fluke: the next outage starts with short delays again.
_STABLE_SECONDS = 10.0
# Between tries, at most: a try costs next to nothing, and faces wait for it.
_LONGEST_PAUSE = 8.0


class Brokers:
    """The brokers that a session may use. Goes round them; stays with one as long as that one serves."""

    def __init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        self._urls = [urls] if isinstance(urls, BrokerUrl) else list(urls)
        self._at = self._failures = 0
        self._served: int | None = None
        # Those whose failure was told since one served.
        self._said: set[int] = set()

    @property
    def url(self) -> BrokerUrl:
        """The broker whose turn it is."""
        return self._urls[self._at]

    @property
    def next_url(self) -> BrokerUrl | None:
        """The broker that is tried after it, where there are several."""
        return self._urls[(self._at + 1) % len(self._urls)] if len(self._urls) > 1 else None

    @property
    def were_down(self) -> bool:
        return bool(self._said)

    def is_news(self) -> bool:
        """Whether to tell that this broker fails: once an outage."""
        if self._at in self._said:
            return False
        self._said.add(self._at)
        return True

    def serves(self) -> None:
        """The outage is over."""
        self._said.clear()

    def knows_us(self) -> bool:
        """Whether this broker also served last, so that its session has what was sent since."""
        before, self._served = self._served, self._at
        return before in (None, self._at)

    def fails(self) -> bool:
        """The next one has its turn. Whether each has had one, so that it is time for a pause."""
        self._at = (self._at + 1) % len(self._urls)
        self._failures += 1
        return self._failures % len(self._urls) == 0


@dataclass(eq=False, repr=False)
class Connection:
    """Serves an endpoint in a thread of its own, and says `online` and `offline` on its status topic, retained."""

    urls: InitVar[BrokerUrl | Sequence[BrokerUrl]]  #: of several, the next is tried when one is away or refuses
    _: KW_ONLY
    client_id: str  #: who this is; no two programs may share one
    endpoint: Endpoint  #: does something with the connection
    tls: TlsFiles = field(default_factory=TlsFiles)  #: PEM files, where the URL asks for TLS
    timeout: float = 10.0  #: for connecting, in seconds
    #: Has the thread ask the endpoint for work. Callable from any thread, and cheap.
    wake: Callable[[], None] = field(init=False)

    def __post_init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        self._brokers = Brokers(urls)
        self._backoff = Backoff(longest=_LONGEST_PAUSE)
        self._stop = threading.Event()
        self._down_since = time.monotonic()
        self._is_linked = False  # the endpoint has a link
        #: Whether the connection is up at this moment, subscriptions included; the times it came up since the start.
        self.is_up = False
        self.connects = 0
        #: The last failure, while the connection is down.
        self.trouble: str | None = None
        self.endpoint.attach(self.wake)
        self._thread = threading.Thread(target=self._run, name=f"session {self.client_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def url(self) -> BrokerUrl:
        """The broker whose turn it is."""
        return self._brokers.url

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running, connected or not."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Sends what is pending, says goodbye and ends the thread; takes a few seconds at most."""
        self._stop.set()
        self._stopping()
        if self._thread.ident is not None:
            # Without a link there is nothing to say goodbye to, and a connection attempt may take longer than we have.
            self._thread.join(2 * FAREWELL_SECONDS if self._is_linked else 0.2)

    # -- for the two kinds of session ---------------------------------------------------------

    def _stopping(self) -> None:
        """Has the thread see that it is to stop."""
        raise NotImplementedError

    def _connect_and_serve(self) -> None:
        """Returns when the session was stopped. OSError: why there is no connection, or no longer."""
        raise NotImplementedError

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._connect_and_serve()
            except OSError as error:
                self._say_down(error)
            finally:
                self._disconnected()
            if time.monotonic() - began > _STABLE_SECONDS:
                self._backoff.reset()
            if self._brokers.fails():
                self._stop.wait(self._backoff.next_delay())

    def _disconnected(self) -> None:
        if self._is_linked:
            self._is_linked = self.is_up = False
            self._down_since = time.monotonic()
            self.endpoint.disconnected()

    def _say_down(self, error: OSError) -> None:
        """Once per outage and broker: what happened, and what comes next."""
        self.trouble = f"{self.url}: {error}"
        if not self._stop.is_set() and self._brokers.is_news():
            verb, following = "lost" if self.is_up else "cannot use", self._brokers.next_url
            what = f"trying the next one, {following}" if following else "retrying until it succeeds"
            log.warning("%s the broker %s as %s: %s; %s", verb, self.url, self.client_id, error, what)

    def _linked(self, link: Link) -> None:
        self._is_linked = True
        self.endpoint.connected(link)

    def _say_up(self, more: str = "") -> None:
        self.is_up = True
        self.connects += 1
        after = f" after {time.monotonic() - self._down_since:.0f} s" if self._brokers.were_down else ""
        log.info("connected to the broker %s as %s%s%s", self.url, self.client_id, after, more)
        self._brokers.serves()
        self.trouble = None
