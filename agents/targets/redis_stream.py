"""A Redis Stream: one entry for each delivery, with fields `key` and `delivery` (JSON).

Beside the stream lies a hash, its guard, with the order of the newest entry of every entity. Both are written by one
script, so a delivery that comes twice, or after a newer one, appends nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from agents.redis_connection import UNAVAILABLE, RedisConnection, Script
from agents.targets.message import message_text
from agents.targets.secret_url import with_password
from agents.targets.target import Receipt, TargetUnavailable, TargetUnusable
from schemas.target_document import RedisStreamDocument
from streams.delivery import Delivery

#: Redis does nothing else while a script runs.
CHUNK_ENTRIES: Final = 200
APPEND: Final = Script("targets/redis_stream.lua")
#: First words of what Redis answers when a person has to put something right.
UNUSABLE: Final = ("WRONGTYPE", "NOPERM", "WRONGPASS", "NOAUTH", "NOPROTO")


class RedisStreamTarget:
    """Appends to one stream over one connection. secret: the password."""

    def __init__(self, said: RedisStreamDocument, secret: str | None = None) -> None:
        url = said.url if secret is None else with_password(said.url, secret)
        try:
            self._redis = RedisConnection(url, said.timeout / 1000)
        except (TypeError, ValueError) as error:  # what follows the question mark
            raise TargetUnusable(f"url: {error}") from None
        self._stream = said.stream
        self._max_entries = said.max_entries

    @property
    def healthy(self) -> bool:
        """Whether the newest call was answered."""
        return self._redis.healthy

    async def open(self) -> None:
        """Connect, and see that nothing else lies under the stream's name."""
        kind = (await self._asked(self._redis.call("TYPE", self._stream))).decode()
        if kind not in ("none", "stream"):
            raise TargetUnusable(f"stream: key {self._stream} is a {kind}; name another one, or delete it")

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """One round trip, whatever the size of the batch."""
        messages = [message_text(delivery).encode() for delivery in batch]
        calls: list[list[Any]] = []
        for start in range(0, len(batch), CHUNK_ENTRIES):
            call: list[Any] = [2, self._stream, guard_key(self._stream), self._max_entries]
            for delivery, message in zip(batch[start : start + CHUNK_ENTRIES], messages[start:], strict=False):
                call += (delivery.key, *delivery.order, message)
            calls.append(call)
        await self._asked(self._redis.run_all(APPEND, calls))
        return Receipt(sent_bytes=sum(map(len, messages)))

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.close()

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        """What Redis answers. Raises TargetUnavailable, TargetUnusable."""
        try:
            return await answer
        except UNAVAILABLE as error:
            # Its first word says what it is; the rest may quote what was sent.
            said = str(error).partition(" ")[0] if isinstance(error, ResponseError) else ""
            if isinstance(error, AuthenticationError | NoPermissionError) or said in UNUSABLE:
                raise TargetUnusable(
                    f"Redis {said or type(error).__name__}: look at url, secret_env and the user's rights"
                ) from None
            raise TargetUnavailable(f"Redis {said or type(error).__name__}") from None


def guard_key(stream: str) -> str:
    """The key of a stream's guard, which a Redis Cluster keeps in the same slot."""
    return f"{stream}:guard" if "{" in stream else f"{{{stream}}}:guard"
