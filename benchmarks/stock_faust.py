"""Stock Faust on the reference job: one agent, one table in memory with its changelog, one golden record a change.

Started by the benchmark as `faust -A benchmarks.stock_faust worker`; BENCH_* in the environment say where. The
settings are the quick ones: large fetches and buffers, a linger of 5 ms, a commit each second, no web server.
"""

from __future__ import annotations

import os
from typing import Any

import faust
import orjson
import redis.asyncio

from benchmarks.stock_fold import VIEW_PREFIX, fold, golden, new_state

app = faust.App(
    os.environ["BENCH_APP_ID"],
    broker="kafka://" + os.environ["BENCH_KAFKA"],
    store="memory://",
    key_serializer="raw",
    value_serializer="json",
    topic_partitions=int(os.environ["BENCH_PARTITIONS"]),
    topic_disable_leader=True,
    table_standby_replicas=0,
    web_enabled=False,
    stream_wait_empty=False,
    stream_buffer_maxsize=16_384,
    consumer_auto_offset_reset="earliest",
    consumer_max_fetch_size=4 * 1024 * 1024,
    broker_max_poll_records=5_000,
    broker_commit_interval=1.0,
    broker_commit_every=100_000,
    broker_session_timeout=60.0,
    producer_acks=-1,
    producer_linger_ms=5,
    producer_max_batch_size=512 * 1024,
)
changes = app.topic(os.environ["BENCH_CHANGES"], key_type=bytes, value_serializer="json")
records = app.topic(os.environ["BENCH_RECORDS"], key_type=bytes, value_type=bytes, value_serializer="raw")
states = app.Table("states", key_type=bytes)
view_url = os.environ.get("BENCH_REDIS")
view = redis.asyncio.Redis.from_url(view_url) if view_url else None


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
