"""Links between the parts, as TCP proxies that can be cut in the two ways that links are cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from dev.chaos.watch import Reader
from dev.stack.ports import free_port

_CHUNK = 65536


class Link:
    """A port that leads to another port.

    * `refuse`: connections are reset, new ones refused.
    * `swallow`: nothing gets through and nobody is told, as with a modem that lost its network. What is on its way
      arrives when the link is back, as TCP repeats it, or never, where the ends gave up meanwhile.

    Args:
        target: the port on loopback that it leads to.
        reader: makes, for each connection, what finds the things to count in the bytes that go there.

    """

    def __init__(self, target: int, reader: Callable[[], Reader] | None = None) -> None:
        self.port = free_port()
        self.refuse = False
        self.swallow = False
        #: How often each thing that the readers found has got through.
        self.passed: Counter[object] = Counter()
        self._target = target
        self._reader = reader
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()

    async def apply(self) -> None:
        """Makes the link what its two switches say."""
        if self.refuse and self._server is not None:
            self._server.close()
            self._server = None
            for writer in list(self._writers):
                writer.transport.abort()
        elif not self.refuse and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_CHUNK)
        if self.swallow:
            self._flows.clear()
        else:
            self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._flows.wait()
            back, there = await asyncio.open_connection("127.0.0.1", self._target, limit=_CHUNK)
            self._writers.add(there)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(reader, there, self._reader and self._reader()))
                tasks.create_task(self._pass_on(back, writer, None))
        except* (OSError, EOFError):
            pass  # a link that breaks is what this is for
        finally:
            for end in (writer, there):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read: Reader | None) -> None:
        while data := await reader.read(_CHUNK):
            await self._flows.wait()
            if read is not None:
                self.passed.update(read(data))
            writer.write(data)
            await writer.drain()
        raise EOFError  # ends the other direction too


class Links:
    """All links, in a thread of their own."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def open(self, target: int, reader: Callable[[], Reader] | None = None) -> Link:
        link = Link(target, reader)
        self._links.append(link)
        self._run(link.apply())
        return link

    def set(self, link: Link, *, refuse: bool = False, swallow: bool = False) -> None:
        link.refuse, link.swallow = refuse, swallow
        self._run(link.apply())

    def close(self) -> None:
        async def end() -> None:
            for link in self._links:
                link.refuse = True
                await link.apply()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(TimeoutError):
            self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
