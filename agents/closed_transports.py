"""A connection that has just been lost: uvloop then raises RuntimeError on a write, where asyncio's own loop does not.

aiokafka expects an OSError or none. Between the loss and its reader's notice, a RuntimeError ends, without a word, the
task that keeps its metadata up to date; whoever waits for metadata then waits for ever, the heartbeat among them.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_SEND: Final = AIOKafkaConnection.send


def send(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    """As the connection's own. Raises KafkaConnectionError where the transport is closed."""
    try:
        return _SEND(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} is lost") from error


def expect_closed_transports() -> None:
    """Have every connection of this process say that it is lost when it is."""
    AIOKafkaConnection.send = send
