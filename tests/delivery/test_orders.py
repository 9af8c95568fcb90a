"""Orders to a target by several people."""

from __future__ import annotations

import asyncio

from agents.settings import Settings
from agents.topics import prepare_topics
from schemas.target_orders import Backfill
from syncline.target_progress import give_orders, read_orders
from tests.conftest import Deployment

TIMES = 5


async def test_of_two_at_once_neither_is_lost(deployment: Deployment) -> None:
    """Whoever comes later gives the order on top of the other one."""
    settings = Settings(kafka=deployment.kafka, topic_prefix=deployment.topic_prefix, partitions=1)
    await prepare_topics(settings)
    for number in range(TIMES):
        wanted = Backfill(backfill_id=f"b{number}", until={0: 1})
        orders = await asyncio.gather(
            give_orders(settings, "crm", lambda before: {"paused": True}),
            give_orders(settings, "crm", lambda before, wanted=wanted: {"backfill": wanted}),  # type: ignore[misc]
            give_orders(settings, "erp", lambda before: {"paused": True}),
        )
        now = await read_orders(settings, "crm")
        assert (now.paused, now.backfill) == (True, wanted)
        assert now in orders
        await give_orders(settings, "crm", lambda before: {"paused": False})
        assert await read_orders(settings, "erp") == orders[2]
