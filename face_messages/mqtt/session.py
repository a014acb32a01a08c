"""A session with a broker by MQTT 5.

All that happens on the wire happens in that thread, so that its endpoint (a `Sender`, a `Taker`) needs no locks
and a packet costs no wake-up. Other threads only call `wake`, and the endpoint is asked what there is to do.
"""

import contextlib
import logging
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from face_messages.message import Message, status_topic
from face_messages.mqtt.client import Client, Link, Subscription, check, properties
from face_messages.mqtt.connection import FAREWELL_SECONDS, Connection
from face_messages.mqtt.reasons import RejectedError, check_connack, check_suback, hung_up
from face_messages.mqtt.url import BrokerUrl
from face_messages.mqtt.wire import Waker, Wire

log = logging.getLogger(__name__)

# A broker that takes messages and acknowledges none for this long is left for the next, where there is one. A node of a
# cluster that does not see the others is such a broker. Where the next one stalls as well, all of them are busy, and
# senders that go round with all they have make it worse: each time in a row takes twice as long.
_STALLED_SECONDS = 8.0
_LONGEST_STALLED_SECONDS = 64.0
_STEADY_SECONDS = 60.0
_MUCH = 64 * 1024
# Larger PUBLISH packets are passed over, in bytes.
_MAX_PACKET = 10 * 1024 * 1024
# A session expiry: brokers count by the wall clock, and one that jumps must not end the session of a program that
# restarts (MQTT 5.0, section 3.1.2.11.2).
_NEVER = 0xFFFFFFFF


@dataclass(eq=False, repr=False)
class Session(Connection):
    """Keeps one MQTT 5 session up. The session belongs to its client id."""

    keep_session: bool = True  #: whether the broker keeps the session while this client is gone
    receive_maximum: int = 65535  #: unacknowledged messages that the broker may send at a time
    keepalive: int = 30  #: a silent connection is given up after this long, in seconds

    def __post_init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        self._keepalive = float(self.keepalive)  # or what the broker demands
        self._waker = Waker()
        self.wake = self._waker.wake
        self._refusal_said = False
        self._subscriptions: Sequence[Subscription] = ()
        self._link: Link | None = None
        self._pinged = False
        self._alive_at = self._last_out = self._acknowledged_at = 0.0
        self._acknowledgements = 0
        self._connected_at = 0.0
        self._stalled_after = _STALLED_SECONDS
        super().__post_init__(urls)

    def _stopping(self) -> None:
        self.wake()
        if self._thread.ident is None:
            self._waker.close()

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.closing(self._waker):
            super()._run()

    def _connect_and_serve(self) -> None:
        wire = Wire(self.url.open(timeout=self.timeout, files=self.tls), max_packet=_MAX_PACKET)
        with contextlib.closing(wire), selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(wire, selectors.EVENT_READ)
            self._link = None
            self._pinged = False
            self._alive_at = self._last_out = self._acknowledged_at = self._connected_at = time.monotonic()
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
        expiry = _NEVER if self.keep_session else 0
        asked = properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry, ReceiveMaximum=self.receive_maximum)
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
        self._linked(link)

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
        self._say_up(": its session was kept" if self._link.session_present else ": a new session")

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
        if now - self._connected_at > _STEADY_SECONDS:
            self._stalled_after = _STALLED_SECONDS
        return self._brokers.next_url is not None and now - self._acknowledged_at > self._stalled_after

    def _farewell(self, client: Client, selector: selectors.BaseSelector) -> None:
        if self._link is None:
            return
        self.endpoint.finish()
        if passing := [name for name, options in self._subscriptions if not options.QoS]:
            # An older version that takes over the session does not know them, and would take what comes for faces.
            check(client.unsubscribe(passing)[0])
        self._link.publish(Message(status_topic(self.client_id), b"offline"), retain=True)
        check(client.disconnect())
        wire, deadline = client.wire, time.monotonic() + FAREWELL_SECONDS
        while wire.unsent and (left := deadline - time.monotonic()) > 0:
            _watch(selector, wire, selectors.EVENT_WRITE)
            selector.select(left)
            wire.flush()
        wire.finish(max(0.1, deadline - time.monotonic()))


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
