"""What a key of the view costs: python -m benchmarks.view [--redis URL] [--rows 4000] [--rounds 20]

Starts a Redis of its own unless one is given. Prints microseconds for each key: of wall time, of CPU in this
process, of CPU in Redis; the median and the least of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import redis.asyncio

from agents.view import RedisView
from streams.effects import ViewRow
from syncline.embedded import start_redis


def rows(count: int, offset: int) -> list[ViewRow]:
    """Rows of customers, about 230 bytes each."""
    return [
        ViewRow(
            b"customer:%06d" % n,
            f'{{"balance":1234.5,"city":"Ghent","email":"person.{n:06d}@example.org","tags":["a","b"],"tier":"gold"}}',
            f'{{"billing":{offset + n},"crm":{n}}}',
            '["tier"]',
            offset + n,
        )
        for n in range(count)
    ]


async def redis_cpu_seconds(client: redis.asyncio.Redis) -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def measure(url: str, count: int, rounds: int, ttl_ms: int | None, known: bool) -> dict[str, object]:
    """Write `count` keys `rounds` times, each time newer. known: with record offsets, as the materializer."""
    view = RedisView(url, "bench.records", "bench.changes", ttl_ms, timeout_seconds=30)
    figures: dict[str, list[float]] = {"wall_us": [], "client_cpu_us": [], "redis_cpu_us": []}
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushdb()
        version = (await client.info("server"))["redis_version"]
        for number in range(rounds + 2):
            batch = rows(count, number * count)
            offsets: Sequence[int] | None = range(number * count, (number + 1) * count) if known else None
            cpu, here, start = await redis_cpu_seconds(client), time.process_time(), time.perf_counter()
            assert await view.write(3, batch, offsets)
            wall, used = time.perf_counter() - start, time.process_time() - here
            if number >= 2:  # the first rounds load the script and create the keys
                figures["wall_us"].append(wall / count * 1e6)
                figures["client_cpu_us"].append(used / count * 1e6)
                figures["redis_cpu_us"].append((await redis_cpu_seconds(client) - cpu) / count * 1e6)
    await view.close()
    result: dict[str, object] = {"redis": version, "rows": count, "ttl_ms": ttl_ms, "record_offsets": known}
    for name, values in figures.items():
        result[name] = {"median": round(statistics.median(values), 2), "least": round(min(values), 2)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", help="URL; its database is emptied")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="syncline-bench-") as directory:
        server = None if given.redis else start_redis(Path(directory))
        try:
            for ttl_ms, known in ((None, False), (None, True), (1_800_000, False)):
                url = given.redis or server.url
                print(json.dumps(asyncio.run(measure(url, given.rows, given.rounds, ttl_ms, known))))
        finally:
            if server is not None:
                server.stop()


if __name__ == "__main__":
    main()
