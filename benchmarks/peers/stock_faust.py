"""Stock Faust on the reference job: one agent, one table in memory with its changelog, one golden record a change.

Started by the benchmark as `faust -A benchmarks.peers.stock_faust worker`. The settings are the quick ones: large
fetches and buffers, a linger, no web server.
"""

from __future__ import annotations

from typing import Any

import faust
import orjson
import redis.asyncio

from benchmarks.peers import given
from benchmarks.peers.fold import VIEW_PREFIX, fold, golden, new_state

app = faust.App(
    given.APP_ID,
    broker="kafka://" + given.KAFKA,
    store="memory://",
    key_serializer="raw",
    value_serializer="json",
    topic_partitions=given.PARTITIONS,
    topic_disable_leader=True,
    table_standby_replicas=0,
    web_enabled=False,
    stream_wait_empty=False,
    stream_buffer_maxsize=16_384,
    consumer_auto_offset_reset="earliest",
    consumer_max_fetch_size=given.FETCH_BYTES,
    broker_max_poll_records=given.POLL_RECORDS,
    broker_commit_interval=given.COMMIT_SECONDS,
    broker_commit_every=100_000,
    broker_session_timeout=60.0,
    producer_acks=-1,
    producer_linger_ms=given.LINGER_MS,
    producer_max_batch_size=given.BATCH_BYTES,
)
changes = app.topic(given.CHANGES, key_type=bytes, value_serializer="json")
records = app.topic(given.RECORDS, key_type=bytes, value_type=bytes, value_serializer="raw")
states = app.Table("states", key_type=bytes)
view = redis.asyncio.Redis.from_url(given.REDIS) if given.REDIS else None


@app.agent(changes, name="resolve")
async def resolve(stream: Any) -> None:
    """One change after the other."""
    async for event in stream.events():
        key, change = event.key, event.value
        state = states.get(key) or new_state()
        if not fold(state, change):
            continue
        states[key] = state
        record = orjson.dumps(golden(state, change))
        await records.send(key=key, value=record)
        if view is not None:
            await view.set(VIEW_PREFIX + key, record)
