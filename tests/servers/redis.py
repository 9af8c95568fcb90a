"""Redis as a test server: without persistence, unless asked for, so whatever kills or restarts it also empties it."""

from __future__ import annotations

import shutil
from pathlib import Path

import redis

from syncline.embedded import free_port, redis_command, redis_program
from tests.servers.faults import BreakableServer

DATABASES = 4096  # every test takes one of its own


def available() -> str | None:
    """None when a `redis-server` is on the PATH, else what is missing."""
    return None if shutil.which("redis-server") else "redis-server not on the PATH"


class RedisServer(BreakableServer):
    """A Redis that a test may kill, pause, wipe and restart on the same port. durable: writes are on disk at once."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        port = free_port()
        command = redis_command(redis_program(), port, directory)
        command += ["--databases", str(DATABASES)]
        if durable:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        super().__init__("Redis", command, port, directory / "redis.log")

    def url(self, database: int = 0) -> str:
        """`redis://` address of one of its databases."""
        return f"redis://{self.address}/{database}"

    def wipe(self) -> None:
        """Empty every database; the server stays up."""
        with redis.Redis.from_url(self.url()) as client:
            client.flushall()
