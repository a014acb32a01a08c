"""A session with a RabbitMQ cluster by AMQP 0.9.1, for the same endpoints that a session by MQTT serves.

What is subscribed to with QoS 1 comes from a quorum queue that all savers share: each message goes to one of them, and
those of a saver that dies go to the others at once. What is subscribed to with QoS 0 comes to each of them.

Two connections, run by one thread. RabbitMQ reads nothing more from a connection that publishes while a node's disk or
memory is short; acknowledgements, which make room there, must not wait behind that.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pika
from pika import exceptions
from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel

from face_messages.amqp.link import AmqpLink, LostError, why
from face_messages.amqp.loop import Loop
from face_messages.amqp.message import EXCHANGE, binding_key, from_amqp
from face_messages.amqp.parameters import parameters
from face_messages.message import Message, Received, status_topic
from face_messages.mqtt.connection import FAREWELL_SECONDS, Connection
from face_messages.mqtt.url import BrokerUrl

log = logging.getLogger(__name__)

#: The queue of the faces.
QUEUE = "facedetection_faces"
#: How it is made where it is missing. One that somebody has made otherwise is used as it is.
ARGUMENTS = {
    "x-queue-type": "quorum",
    # A message that comes back is no bad message: its saver died, or its store is away.
    "x-delivery-limit": -1,
    # A full queue is told to the edges, which then keep their faces.
    "x-overflow": "reject-publish",
    "x-max-length-bytes": 1024 * 1024 * 1024,
}
# News for each saver alone: dropped where one is slow.
_LISTENING = {"x-queue-type": "classic", "x-max-length": 10_000}

# How often it is looked whether the node sees the others, and how long an answer may take, in seconds. Each answer that
# does not come doubles that: where all nodes are busy, savers that go round them make it worse.
_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 6.0
_LONGEST_ANSWER_SECONDS = 60.0
# Nothing is ever published under this key.
_PROBE = "facedetection_probe"


@dataclass(eq=False, repr=False)
class AmqpSession(Connection):
    """Keeps a session up with one of the nodes that `urls`, of `AmqpUrl`, name."""

    receive_maximum: int = 64  #: unacknowledged messages that the broker may send at a time

    def __post_init__(self, urls: BrokerUrl | Sequence[BrokerUrl]) -> None:
        several = [urls] if isinstance(urls, BrokerUrl) else list(urls)
        # Savers know the nodes in the same order, and are to be spread over them.
        random.shuffle(several)
        self.wake = self._wake
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self._is_woken = False
        self._timer: Any = None
        self._error: OSError | None = None
        self._answer_within = _ANSWER_SECONDS
        self._taken = 0  # faces that came
        self._link: AmqpLink | None = None
        super().__post_init__(several)

    def _wake(self) -> None:
        if not self._is_woken:
            with self._lock:
                if self._loop is not None:
                    self._is_woken = True
                    self._loop.add_callback_threadsafe(self._work)

    def _stopping(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(self._farewell)

    # -- the thread ---------------------------------------------------------------------------

    def _connect_and_serve(self) -> None:
        loop = Loop()
        connections: list[SelectConnection] = []
        self._error = None
        self._is_woken = False
        try:
            for role in ("takes", "tells"):
                connections.append(
                    SelectConnection(
                        parameters(self.url, self.tls, timeout=self.timeout, name=f"{self.client_id} {role}"),
                        on_open_callback=lambda _: self._opened(loop, connections),
                        on_open_error_callback=self._failed,
                        on_close_callback=self._failed,
                        custom_ioloop=loop,
                    )
                )
            with self._lock:
                self._loop = loop
            if not self._stop.is_set():
                loop.start()
        except exceptions.AMQPError as error:
            # A channel was closed under our hands; why was told before, if at all.
            self._failed(None, error)
        finally:
            with self._lock:
                self._loop = None
            if self._error is not None:
                self._say_down(self._error)
            self._disconnected()
            self._link = None
            _close(loop, connections)

    def _failed(self, _: object, error: BaseException | str) -> None:
        if self._error is None:
            self._error = LostError(why(error))
        if self._loop is not None:
            self._loop.stop()

    def _opened(self, loop: Loop, connections: list[SelectConnection]) -> None:
        if len(connections) == 2 and all(each.is_open for each in connections):
            taking, telling = connections
            taking.channel(
                on_open_callback=lambda ours: telling.channel(
                    on_open_callback=lambda theirs: self._declare(AmqpLink(loop, ours, theirs))
                )
            )

    def _declare(self, link: AmqpLink) -> None:
        """Makes the queue where there is none yet, then subscribes."""

        def declare(trial: Channel) -> None:
            def made(_: object) -> None:
                trial.close()
                self._subscribe(link)

            trial.add_on_close_callback(refused)
            trial.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS, callback=made)

        # One that exists with other arguments ends the channel that asks for it, and may be used all the same.
        def refused(_: Channel, error: BaseException) -> None:
            if isinstance(error, exceptions.ChannelClosedByBroker):
                if error.reply_code == 406:
                    log.warning("the queue %s was made otherwise and is used as it is: %s", QUEUE, error.reply_text)
                    self._subscribe(link)
                else:
                    self._failed(None, error)

        link.taking.connection.channel(on_open_callback=declare)

    def _subscribe(self, link: AmqpLink) -> None:
        taking, telling = link.taking, link.telling
        for channel in (taking, telling):
            channel.add_on_close_callback(self._failed)
            channel.add_on_cancel_callback(lambda _: self._failed(None, "the broker ended the subscription"))
        wanted = self.endpoint.subscriptions
        for name in (name for name, options in wanted if options.QoS):
            # Of topics that Mosquitto shares among a group, this queue has one for all.
            taking.queue_bind(QUEUE, EXCHANGE, binding_key(name))
        taking.basic_qos(prefetch_count=self.receive_maximum)
        listened = [name for name, options in wanted if not options.QoS]

        def listen(made: Any) -> None:
            queue = made.method.queue
            for name in listened:
                telling.queue_bind(queue, EXCHANGE, binding_key(name))
            telling.basic_consume(queue, self._received, auto_ack=True)
            self._up(link, queue)

        telling.queue_declare("", exclusive=True, auto_delete=True, arguments=_LISTENING, callback=listen)

    def _up(self, link: AmqpLink, queue: str) -> None:
        self._link = link
        self._say_up()
        link.publish(Message(status_topic(self.client_id), b"online"))
        self._linked(link)  # type: ignore[arg-type] # it is used as one
        self._work()
        link.taking.basic_consume(QUEUE, self._received)
        self._look_later(link, queue)

    def _look_later(self, link: AmqpLink, queue: str) -> None:
        """Asks now and then for something that takes a majority of the nodes: a node that does not see the others
        delivers nothing and does not say why. One that delivers is busy and not cut off.
        """

        def look() -> None:
            if not link.telling.is_open:
                return
            taken = self._taken
            timer: Any = None

            def late() -> None:
                nonlocal taken, timer
                if self._taken == taken:
                    self._answer_within = min(2 * self._answer_within, _LONGEST_ANSWER_SECONDS)
                    self._failed(None, "it does not see the other nodes")
                else:
                    taken = self._taken
                    timer = link.loop.call_later(self._answer_within, late)

            def unbind(_: object) -> None:
                if link.telling.is_open:
                    link.telling.queue_unbind(queue, EXCHANGE, _PROBE, callback=answered)

            def answered(_: object) -> None:
                link.loop.remove_timeout(timer)
                self._answer_within = _ANSWER_SECONDS
                self._look_later(link, queue)

            timer = link.loop.call_later(self._answer_within, late)
            link.telling.queue_bind(queue, EXCHANGE, _PROBE, callback=unbind)

        link.loop.call_later(_LOOK_SECONDS, look)

    def _received(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        is_face = self._link is not None and channel is self._link.taking
        message = from_amqp(method.routing_key, properties, body)
        self.endpoint.received(Received(message, method.delivery_tag if is_face else None))
        if is_face:
            self._taken += 1
            self.wake()

    def _work(self) -> None:
        self._is_woken = False
        # What a connection lost in this turn of the loop has left to do is left.
        if self._link is None or self._loop is None or self._error is not None:
            return
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        wait = self.endpoint.work(time.monotonic())
        self._loop.reading = self._link.reading
        if wait is not None:
            self._timer = self._loop.call_later(wait, self._work)

    def _farewell(self) -> None:
        """Everything that is pending goes out before the connections end."""
        if self._link is None:
            if self._loop is not None:
                self._loop.stop()
            return
        self.endpoint.finish()
        self._link.publish(Message(status_topic(self.client_id), b"offline"))
        self._error = LostError("stopped")
        assert self._loop is not None
        self._loop.call_later(FAREWELL_SECONDS, self._loop.stop)
        for channel in (self._link.taking, self._link.telling):
            channel.connection.close()


def _close(loop: Loop, connections: list[SelectConnection]) -> None:
    """Frees sockets and memory, whatever state the connections are in."""
    loop.reading = True
    for connection in connections:
        if not connection.is_closed and not connection.is_closing:
            with contextlib.suppress(exceptions.AMQPError):
                connection.close()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and not all(each.is_closed for each in connections):
        loop.call_later(0.05, loop.stop)
        # pika asserts that nobody closes a connection that is being made.
        with contextlib.suppress(AssertionError):
            loop.start()
    loop.close()
