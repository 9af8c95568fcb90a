"""One line of a diagnosis, and how an examination becomes one, whatever it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

TIMEOUT_SECONDS: Final = 15.0


class Finding(NamedTuple):
    """One line of the diagnosis."""

    part: str
    ok: bool
    detail: str


async def bounded(part: str, examination: Awaitable[tuple[bool, str]]) -> Finding:
    """What an examination finds, or why it did not within 15 s."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            ok, detail = await examination
    except (KafkaError, RedisError, OSError) as error:
        # TimeoutError is an OSError, and its text is empty.
        detail = " ".join(str(error).split()) or f"no answer within {TIMEOUT_SECONDS:g} s"
        return Finding(part, False, f"{type(error).__name__}: {detail}"[:300])
    return Finding(part, ok, detail)


async def takes_connections(host: str, port: int) -> None:
    """Raises OSError: nothing takes connections there."""
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
