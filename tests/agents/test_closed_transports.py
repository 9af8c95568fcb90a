"""A connection to Kafka that was lost a moment ago."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from agents import closed_transports
from syncline.embedded import LOOPBACK
from tests.upstream.canary import canary

BYTES = SimpleNamespace(encode=lambda: b"x", build_request_header=lambda **_: BYTES)
REQUEST = SimpleNamespace(prepare=lambda versions: BYTES)


async def lost_connection() -> tuple[AIOKafkaConnection, list[CloseReason]]:
    """A connection whose transport is closed, which its reader has not heard of; and why it was closed."""
    server = await asyncio.start_server(lambda reader, writer: None, LOOPBACK, 0)
    port, reasons = server.sockets[0].getsockname()[1], list[CloseReason]()
    connection = AIOKafkaConnection(LOOPBACK, port, on_close=lambda _, reason: reasons.append(reason))
    connection._reader, connection._writer = await asyncio.open_connection(LOOPBACK, port)
    connection._read_task = asyncio.create_task(asyncio.sleep(60.0))
    connection._writer.transport.abort()
    await asyncio.sleep(0.01)
    server.close()
    return connection, reasons


def under_uvloop(work: Any) -> Any:
    """Run it in the event loop that workers have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def test_a_request_on_a_lost_connection_is_an_error_of_kafka() -> None:
    """The connection is closed, as when the reader had noticed first, so the next request makes a new one."""

    async def work() -> None:
        connection, reasons = await lost_connection()
        with pytest.raises(KafkaConnectionError, match="is lost"):
            closed_transports.send(connection, REQUEST)
        assert (reasons, connection.connected()) == ([CloseReason.CONNECTION_BROKEN], False)

    under_uvloop(work())


def test_upstream_raises_what_aiokafka_does_not_expect() -> None:
    """RuntimeError, which is neither an OSError nor a KafkaError."""

    async def work() -> None:
        connection, _ = await lost_connection()
        with canary("agents/closed_transports.py"), pytest.raises(RuntimeError, match="handler is closed"):
            closed_transports._SEND(connection, REQUEST)

    under_uvloop(work())
