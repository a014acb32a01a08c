"""A session with a broker, kept up by a thread of its own.

All that happens on the wire happens in that thread, so that its endpoint (a `Sender`, a `Taker`) needs no locks
and a packet costs no wake-up. Other threads only call `wake`, and the endpoint is asked what there is to do.
"""

import contextlib
import logging
import selectors
import threading
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any

from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from face_messages.message import Message, status_topic
from face_messages.mqtt.brokers import Brokers
from face_messages.mqtt.client import Client, Link, Subscription, check, properties
from face_messages.mqtt.endpoint import Endpoint
from face_messages.mqtt.reasons import RejectedError, check_connack, check_suback, hung_up
from face_messages.mqtt.url import BrokerUrl, TlsFiles
from face_messages.mqtt.wire import Waker, Wire
from face_messages.service.backoff import Backoff

log = logging.getLogger(__name__)

# A connection that held this long was no fluke: the next outage starts with short delays again.
_STABLE_SECONDS = 10.0
# What goes out when the program stops has this long to get into the network.
_FAREWELL_SECONDS = 2.0
# A broker that takes messages and acknowledges none for this long is left for the next, where there is one. A node of a
# cluster that does not see the others is such a broker. Where the next one stalls as well, all of them are busy, and
# senders that go round with all they have make it worse: each time in a row takes twice as long.
_STALLED_SECONDS = 8.0
_LONGEST_STALLED_SECONDS = 64.0
_STEADY_SECONDS = 60.0
# Between tries, at most: a try costs next to nothing, and faces wait for it.
_LONGEST_PAUSE = 8.0
_MUCH = 64 * 1024
#: A session expiry: brokers count by the wall clock, and one that jumps must not end the session of a program that
#: restarts (MQTT 5.0, section 3.1.2.11.2).
NEVER = 0xFFFFFFFF


@dataclass(eq=False, repr=False)
class Session:
    """Keeps one MQTT 5 session up, with a retained `online` or `offline` on its status topic."""

    urls: InitVar[BrokerUrl | Sequence[BrokerUrl]]  #: of several, the next is tried when one is away or refuses
    _: KW_ONLY
    client_id: str  #: who this is; the session belongs to it, so no two programs may share one
    endpoint: Endpoint  #: does something with the session
    tls: TlsFiles = field(default_factory=TlsFiles)  #: PEM files for `mqtts`
    session_expiry: int = NEVER  #: how long the broker keeps the session of a client that is gone, in seconds
    keep_session: bool = True  #: whether the session outlives an orderly stop
    receive_maximum: int = 65535  #: unacknowledged messages that the broker may send at a time
    max_packet: int = 10 * 1024 * 1024  #: larger PUBLISH packets are passed over, in bytes
    keepalive: int = 30  #: a silent connection is given up after this long, in seconds
    timeout: float = 10.0  #: for connecting, in seconds

    def __post_init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        self._brokers = Brokers(urls)
        self._keepalive = float(self.keepalive)  # or what the broker demands
        self._stop = threading.Event()
        self._waker = Waker()
        self._backoff = Backoff(longest=_LONGEST_PAUSE)
        self._down_since = time.monotonic()
        self._refusal_said = False
        self._subscriptions: Sequence[Subscription] = ()
        self._link: Link | None = None
        self._pinged = False
        self._alive_at = self._last_out = self._acknowledged_at = 0.0
        self._acknowledgements = 0
        self._stalled_after = _STALLED_SECONDS
        #: Whether the link is up at this moment.
        self.is_up = False
        #: The last failure, while the link is down.
        self.trouble: str | None = None
        #: Times the link came up since the start.
        self.connects = 0
        #: Has the thread ask its endpoint for work. Callable from any thread, and cheap.
        self.wake = self._waker.wake
        self.endpoint.attach(self.wake)
        self._thread = threading.Thread(target=self._run, name=f"mqtt {self.client_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def url(self) -> BrokerUrl:
        """The broker whose turn it is."""
        return self._brokers.url

    @property
    def is_alive(self) -> bool:
        """Whether the thread that keeps the session up is running, connected or not."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Sends what is pending, says goodbye and ends the thread; takes a few seconds at most."""
        self._stop.set()
        self.wake()
        if self._thread.ident is not None:
            # Without a link there is nothing to say goodbye to, and a connection attempt may take longer than we have.
            self._thread.join(2 * _FAREWELL_SECONDS if self.is_up else 0.2)
        else:
            self._waker.close()

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.closing(self._waker):
            self._serve_until_stopped()

    def _serve_until_stopped(self) -> None:
        while not self._stop.is_set():
            up_at = time.monotonic()
            try:
                self._connect_and_serve()
            except OSError as error:
                self._say_down(error)
            finally:
                if self.is_up:
                    self.is_up = False
                    self._down_since = time.monotonic()
                    self.endpoint.disconnected()
            if (held := time.monotonic() - up_at) > _STABLE_SECONDS:
                self._backoff.reset()
            if held > _STEADY_SECONDS:
                self._stalled_after = _STALLED_SECONDS
            if self._brokers.fails():
                self._stop.wait(self._backoff.next_delay())

    def _connect_and_serve(self) -> None:
        wire = Wire(self.url.open(timeout=self.timeout, files=self.tls), max_packet=self.max_packet)
        with contextlib.closing(wire), selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(wire, selectors.EVENT_READ)
            self._link = None
            self._pinged = False
            self._alive_at = self._last_out = self._acknowledged_at = time.monotonic()
            client = self._connect(wire)
            while not self._stop.is_set():
                self._turn(client, selector)
            self._farewell(client, selector)

    def _connect(self, wire: Wire) -> Client:
        """A client that has said CONNECT; what it tells comes out of its `loop_read`."""
        endpoint = self.endpoint
        client = Client(wire, self.client_id, received=endpoint.received, acknowledged=endpoint.acknowledged)
        client.username_pw_set(self.url.username, self.url.password)
        client.will_set(status_topic(self.client_id), b"offline", qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe = self._on_subscribe
        asked = properties(
            PacketTypes.CONNECT, SessionExpiryInterval=self.session_expiry, ReceiveMaximum=self.receive_maximum
        )
        check(client.connect(self.url.host, self.url.port, self.keepalive, clean_start=False, properties=asked))
        return client

    def _turn(self, client: Client, selector: selectors.BaseSelector) -> None:
        """Once round: send, wait, receive, work."""
        wire, link = client.wire, self._link
        wait = self._keep_alive(client)
        if link is not None and (wanted := self.endpoint.work(time.monotonic())) is not None:
            wait = min(wait, wanted)
        if pending := wire.unsent:
            wire.flush()
            self._last_out = time.monotonic()
            if 0 < wire.unsent < pending:
                self._alive_at = self._last_out  # a slow link is no dead link
            if wire.unsent < pending and pending >= _MUCH:
                wait = 0  # the endpoint held back for want of room, which there is now
        reading = link is None or link.reading
        events = (selectors.EVENT_READ if reading else 0) | (selectors.EVENT_WRITE if wire.unsent else 0)
        _watch(selector, wire, events)
        if wire.has_more and reading:
            wait = 0
        for key, _ in selector.select(max(0.0, wait)):
            if key.fileobj is self._waker:
                self._waker.clear()
        if reading:
            before = wire.received
            client.loop_read()
            if wire.received > before:
                self._alive_at = time.monotonic()
                self._pinged = False

    def _on_connect(
        self, client: Any, _: Any, flags: ConnectFlags, reason: ReasonCode, said: Properties | None
    ) -> None:
        check_connack(reason)
        subscriptions = self._subscriptions = list(self.endpoint.subscriptions)
        is_shared = any(name.startswith("$share/") for name, _ in subscriptions)
        if is_shared and not getattr(said, "SharedSubscriptionAvailable", 1):
            raise RejectedError("the broker does not support shared subscriptions: leave SAVER_GROUP empty")
        self._keepalive = float(getattr(said, "ServerKeepAlive", 0) or self.keepalive)
        known = self._brokers.knows_us() and flags.session_present
        link = self._link = Link(client, session_present=known, connack=said)
        check(client.subscribe(subscriptions)[0])
        link.publish(Message(status_topic(self.client_id), b"online"), retain=True)
        self.is_up = True
        self.connects += 1
        self.endpoint.connected(link)

    def _on_disconnect(self, _client: Any, _: Any, flags: DisconnectFlags, reason: ReasonCode, _said: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            raise hung_up(reason)

    def _on_subscribe(self, _client: Any, _: Any, _packet_id: int, reasons: list[ReasonCode], _said: Any) -> None:
        refused = check_suback(reasons, self._subscriptions)
        if refused and not self._refusal_said:
            log.warning(
                "the broker %s does not let %s subscribe to %s: what is told there stays unknown, all else works;"
                " allow it in the broker's access rules",
                self.url,
                self.client_id,
                ", ".join(refused),
            )
        self._refusal_said = bool(refused)
        assert self._link is not None
        self._say_up(self._link)

    def _keep_alive(self, client: Client) -> float:
        """Pings where it is time to; seconds until there may be something to do again.

        TimeoutError: the other side has been silent for too long.
        """
        now = time.monotonic()
        if self._link is None:
            if now - self._alive_at > self.timeout:
                raise TimeoutError("the broker took the connection but does not answer")
            return self.timeout
        if self._has_stalled(client, now):
            self._stalled_after = min(2 * self._stalled_after, _LONGEST_STALLED_SECONDS)
            raise TimeoutError(f"it has acknowledged nothing for {now - self._acknowledged_at:.0f} s")
        half = self._keepalive / 2
        if self._pinged and self._link.reading and now - self._alive_at > 2 * half:
            raise TimeoutError(f"nothing was heard of the broker for {now - self._alive_at:.0f} s")
        if now - (self._last_out if self._pinged else min(self._alive_at, self._last_out)) >= half:
            client.ping()
            self._pinged = True
        return min(half / 4, _STALLED_SECONDS / 4) if self._brokers.next_url else half / 4

    def _has_stalled(self, client: Client, now: float) -> bool:
        if not client.unacknowledged or client.wire.unsent or client.acknowledgements != self._acknowledgements:
            self._acknowledgements, self._acknowledged_at = client.acknowledgements, now
        return self._brokers.next_url is not None and now - self._acknowledged_at > self._stalled_after

    def _farewell(self, client: Client, selector: selectors.BaseSelector) -> None:
        if self._link is None:
            return
        self.endpoint.finish()
        if passing := [name for name, options in self._subscriptions if not options.QoS]:
            # An older version that takes over the session does not know them, and would take what comes for faces.
            check(client.unsubscribe(passing)[0])
        self._link.publish(Message(status_topic(self.client_id), b"offline"), retain=True)
        forget = None if self.keep_session else properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0)
        check(client.disconnect(properties=forget))
        wire, deadline = client.wire, time.monotonic() + _FAREWELL_SECONDS
        while wire.unsent and (left := deadline - time.monotonic()) > 0:
            _watch(selector, wire, selectors.EVENT_WRITE)
            selector.select(left)
            wire.flush()
        wire.finish(max(0.1, deadline - time.monotonic()))

    def _say_down(self, error: OSError) -> None:
        """Once per outage and broker: what happened, and what comes next."""
        self.trouble = f"{self.url}: {error}"
        if not self._stop.is_set() and self._brokers.is_news():
            verb, following = "lost" if self.is_up else "cannot use", self._brokers.next_url
            what = f"trying the next one, {following}" if following else "retrying until it succeeds"
            log.warning("%s the broker %s as %s: %s; %s", verb, self.url, self.client_id, error, what)

    def _say_up(self, link: Link) -> None:
        after = f" after {time.monotonic() - self._down_since:.0f} s" if self._brokers.were_down else ""
        session = "its session was kept" if link.session_present else "a new session"
        log.info("connected to the broker %s as %s%s: %s", self.url, self.client_id, after, session)
        self._brokers.serves()
        self.trouble = None


def _watch(selector: selectors.BaseSelector, wire: Wire, events: int) -> None:
    registered = selector.get_map().get(wire)
    if events == (registered.events if registered else 0):
        return
    if not events:
        selector.unregister(wire)
    elif registered:
        selector.modify(wire, events)
    else:
        selector.register(wire, events)
