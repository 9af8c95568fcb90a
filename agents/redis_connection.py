"""One connection to Redis on which no reply can ever be taken for another command's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

#: What a Redis that is away, late, full, loading, read-only or not ours to use makes of a call.
UNAVAILABLE = (RedisError, OSError, TimeoutError)


class NotSent(RedisError):
    """The command was not sent, and the connection is as good as before."""


class Script:
    """A Lua script, by its path from here: sent once, then called by its SHA-1."""

    def __init__(self, name: str) -> None:
        self.source = (Path(__file__).parent / name).read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


class RedisConnection:
    """Calls go one after the other; one that fails, times out or is cancelled closes the connection.

    A reply that is still under way would otherwise be read by the next call. Nothing is repeated here.

    number: counts the connections made so far. While it stays the same, it is the same Redis process, so
    whatever was written over it is still there unless somebody deleted it.
    healthy: whether the newest call was answered; True before the first one.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._timeout_seconds = timeout_seconds
        self._lock = asyncio.Lock()
        self.number = 0
        self.healthy = True

    async def call(self, *command: Any) -> Any:
        """Send one command and return its reply. Raises one of UNAVAILABLE."""
        return _first_error_raised(await self._send([command]))[0]

    async def run(self, script: Script, *arguments: Any, on: int | None = None) -> Any:
        """Call a script; arguments: the number of keys, the keys, the rest. As `run_all` for the rest."""
        return (await self.run_all(script, [arguments], on))[0]

    async def run_all(
        self,
        script: Script,
        calls: Sequence[Sequence[Any]],
        on: int | None = None,
        patient: bool = True,
    ) -> list[Any]:
        """Call a script several times in one round trip and return the replies, all of one connection.

        on: the only connection (see `number`) over which it may go. patient: False gives up at once while
        the connection is unhealthy, so that nobody waits for one time-out after the other.
        Raises one of UNAVAILABLE, NotSent among them; some of the calls may have been carried out then.
        """
        replies = await self._send([("EVALSHA", script.sha, *each) for each in calls], on, patient)
        # A Redis that was restarted, or that never saw the script.
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = [("EVAL", script.source, *calls[at]) for at in missing]
            for at, reply in zip(missing, await self._send(again, self.number, patient), strict=True):
                replies[at] = reply
        return _first_error_raised(replies)

    async def _send(
        self, commands: Sequence[tuple[Any, ...]], on: int | None = None, patient: bool = True
    ) -> list[Any]:
        async with self._lock:
            if not (patient or self.healthy):
                raise NotSent("Redis did not answer the call before this one")
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    replies = await self._exchange(commands, on)
            except NotSent:
                raise
            except BaseException:
                self.healthy = False
                await self._connection.disconnect(nowait=True)
                raise
            # An error is a complete reply, so the connection is good; a missing script is no trouble at all.
            self.healthy = all(
                isinstance(reply, NoScriptError) or not isinstance(reply, ResponseError) for reply in replies
            )
            return replies

    async def _exchange(self, commands: Sequence[tuple[Any, ...]], on: int | None) -> list[Any]:
        if not self._connection.is_connected:
            await self._connection.connect()
            self.number += 1
        if on is not None and on != self.number:
            raise NotSent(f"Redis connection {on} was lost meanwhile, this is {self.number}")
        # redis-py's asyncio connections pack in Python, five times as slowly.
        packed = [pack_command(command) for command in commands]
        await self._connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await self._connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    async def close(self) -> None:
        """Close the connection; the next call opens another one."""
        async with self._lock:
            await self._connection.disconnect()


def _first_error_raised(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies
