"""A producer and a consumer that speak only Redis take part, from one end to the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from redis.asyncio import Redis

from agents.ingest.stream_state import look
from schemas.ingest_document import StreamSourceDocument
from tests.conftest import Deployment
from tests.faults.worker import Worker
from tests.ingest.arrivals import until
from tests.integration.shell import worker_settings

GROUP = "shop-app"
DELIVER = ("-m", "syncline", "deliver", "shop")


class Shop:
    """A system that is a source (stream `shop.changes`) and a target (stream `shop.golden`). redis: its only client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def received(self) -> dict[str, Any]:
        """The next delivery, acknowledged."""
        found: list[dict[str, Any]] = []

        async def arrived() -> bool:
            answer: Any = await self._redis.xreadgroup(GROUP, "one", {"shop.golden": ">"}, count=1, block=500)
            for id, entry in answer[0][1] if answer else ():
                found.append(json.loads(entry[b"delivery"]))
                await self._redis.xack("shop.golden", GROUP, id)
            return bool(found)

        await until(arrived)
        return found[0]

    async def changed(self, fields: dict[str, Any], in_reply_to: dict[str, Any]) -> None:
        """Publish that customer 42 has these fields, which it has because of what was received."""
        head = {"entity_type": "customer", "entity_id": "42", "op": "update"}
        parts = {**head, "fields": json.dumps(fields), "in_reply_to": json.dumps(in_reply_to)}
        await self._redis.xadd("shop.changes", parts)  # type: ignore[arg-type]


async def test_a_producer_and_a_consumer_take_part_with_redis_alone(deployment: Deployment, tmp_path: Path) -> None:
    """XADD becomes a golden record, which XREADGROUP gets; an echo of it causes nothing, and a near miss a new one."""
    config = tmp_path / "syncline.yaml"
    sources = {name: {"redis_stream": f"{name}.changes"} for name in ("till", "shop")}
    target = {"kind": "redis_stream", "url": deployment.redis, "stream": "shop.golden"}
    config.write_text(yaml.safe_dump({"sources": sources, "targets": {"shop": target}}))
    settings = worker_settings(deployment, config=str(config), partitions=2)
    redis = Redis.from_url(deployment.redis, protocol=2)
    await redis.xgroup_create("shop.golden", GROUP, id="0", mkstream=True)
    processes = [
        Worker(settings, tmp_path / "worker.log", ("-m", "syncline", "worker"), {}),
        Worker(settings, tmp_path / "deliver.log", DELIVER, {}),
    ]
    shop = Shop(redis)
    change = {"entity_type": "customer", "entity_id": "42", "op": "create", "fields": {"name": "Ann", "big": 2**53 + 1}}
    await redis.xadd("till.changes", {"change": json.dumps(change)})
    first = await shop.received()
    assert (first["key"], first["fields"]) == ("customer:42", {"name": "Ann", "big": 2**53 + 1})

    await shop.changed({"name": "Ann", "big": 2**53 + 1}, in_reply_to=first)
    await shop.changed({"name": "Ann", "phone": "0301"}, in_reply_to=first)
    second = await shop.received()
    assert second["fields"] == {"name": "Ann", "big": 2**53 + 1, "phone": "0301"}
    assert set(second["clock"]) == {"till", "shop"}
    state = await look(redis, StreamSourceDocument(stream="shop.changes"))
    assert state is not None
    assert state.totals == {"copied": 1, "near_miss": 1, "echo": 1}
    assert await redis.xlen("shop.golden") == 2
    assert [process.end() for process in processes] == [0, 0]
    await redis.aclose()
