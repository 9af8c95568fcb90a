"""A TCP proxy on loopback that can be slow, cut, black, deaf on one side, or reset what it carries.

Nothing is ever lost inside a connection that lives: what the proxy holds back is forwarded after `heal`,
as a network does that was away for a while. Only the two ends may lose patience meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NamedTuple, Self

from syncline.embedded import LOOPBACK, free_port

CHUNK_BYTES = 64 * 1024
CHUNKS_UNDER_WAY = 256  # of one direction; a slow way holds as much, a black one lets the sender's window fill
CALL_SECONDS = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Chunk(NamedTuple):
    """What was read, and when (loop time) it may go on; no data: that end has closed."""

    due: float
    data: bytes


class Proxy:
    """Listens on `port` and forwards to `target_port`, both on loopback; use it with `with`.

    Its event loop runs in a thread of its own, so each method may be called from any test. The modes last until
    `heal`, except `reset`, which is over at once.
    """

    def __init__(self, target_port: int, port: int | None = None) -> None:
        self.target_port = target_port
        self.port = free_port() if port is None else port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._delay = 0.0
        self._upstream_open, self._downstream_open = asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections it holds now."""
        return len(self._connections)

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """Listen, forward both ways at once, and let go of what was held back."""
        self._call(self._heal())

    def delay(self, seconds: float) -> None:
        """From now on all data arrive this much later, in both directions."""
        self._delay = seconds

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._call(self._cut())

    def reset(self) -> None:
        """End all connections by RST; new ones are welcome."""
        self._call(self._close_all(abruptly=True))

    def half_open(self) -> None:
        """Accept and keep connections, but forward nothing, not even that one of the ends has closed."""
        self._loop.call_soon_threadsafe(self._upstream_open.clear)
        self._loop.call_soon_threadsafe(self._downstream_open.clear)

    def drop_upstream(self) -> None:
        """Forward nothing to the target; what the target says still arrives."""
        self._loop.call_soon_threadsafe(self._upstream_open.clear)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _heal(self) -> None:
        self._delay = 0.0
        self._upstream_open.set()
        self._downstream_open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._close_all(abruptly=False)

    async def _close_all(self, abruptly: bool) -> None:
        connections = list(self._connections)
        if abruptly:
            for writer in self._writers:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # One that is cancelled before it has begun closes nothing by itself.
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either end closes."""
        ends = [writer]
        self._writers.add(writer)
        try:
            target_reader, target_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
            ends.append(target_writer)
            self._writers.add(target_writer)
            ways = [
                asyncio.ensure_future(self._forward(reader, target_writer, self._upstream_open)),
                asyncio.ensure_future(self._forward(target_reader, writer, self._downstream_open)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the target refuses: so do we, by closing
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
        chunks: asyncio.Queue[Chunk] = asyncio.Queue(CHUNKS_UNDER_WAY)
        reading = asyncio.ensure_future(self._read(reader, chunks))
        try:
            while True:
                chunk = await chunks.get()
                await asyncio.sleep(max(0.0, chunk.due - self._loop.time()))
                await way.wait()
                if not chunk.data:
                    return
                writer.write(chunk.data)
                await writer.drain()
        except OSError:
            pass  # the receiving end is gone
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, chunks: asyncio.Queue[Chunk]) -> None:
        while True:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await chunks.put(Chunk(self._loop.time() + self._delay, data))
            if not data:
                return
