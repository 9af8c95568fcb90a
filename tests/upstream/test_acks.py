"""How Faust acknowledges and commits, which is why batches are acknowledged by hand and counted by a ledger of ours."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from agents.lane import LaneSchema
from tests.upstream.canary import PARTITION, TOPIC, canary, flowing_app, message, stream_of


@pytest.mark.parametrize(
    ("committed", "acked", "would_commit"),
    [(31, [31, 32, 33], 34), (31, [32, 33], 34), (31, [33, 34], None), (None, [5, 6], 7), (0, [7, 8], 9)],
)
async def test_a_commit_passes_what_is_unfinished(committed: int | None, acked: list[int], would_commit: int) -> None:
    """Faust steps over one unfinished message at the head, and over any number where nothing is committed yet.

    Worked around in agents/offsets.py: PartitionLedger, which LaneConsumer._new_offset asks instead.
    """
    consumer = flowing_app().consumer
    with canary("agents/offsets.py", "agents/lane.py"):
        consumer._committed_offset[PARTITION] = committed
        consumer._acked[PARTITION] = list(acked)
        consumer._acked_index[PARTITION] = set(acked)
        assert consumer._new_offset(PARTITION) == would_commit


async def test_a_gap_is_written_out_offset_by_offset() -> None:
    """A jump in offsets becomes a list with each of them: 8 bytes for every offset that was never there.

    Worked around in agents/lane.py: LaneConsumer._add_gap does nothing for topics of the lane.
    """
    consumer = flowing_app().consumer
    with canary("agents/lane.py"):
        consumer._acked[PARTITION] = [500_000]
        await consumer._add_gap(PARTITION, 0, 499_999)
        tracemalloc.start()
        consumer._new_offset(PARTITION)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes > 500_000 * 8


async def test_an_exception_acknowledges_what_it_was_about() -> None:
    """When an agent's body raises, Faust acknowledges the event that it was working on.

    Worked around in agents/resolve.py and agents/commands.py: noack, and an exception ends the process.
    """
    app = flowing_app()
    stream = await stream_of(app, *map(message, range(3)))

    async def body() -> None:
        async for value in stream:
            if value == 1:
                raise ValueError("boom")

    with suppress(ValueError):
        await body()
    # The generator's clean-up acknowledges: it runs in the loop, once nobody holds the generator any more.
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    with canary("agents/resolve.py", "agents/commands.py"):
        assert sorted(app.consumer._acked[PARTITION]) == [0, 1]


async def test_noack_leaves_acknowledging_to_us() -> None:
    """With noack nothing is acknowledged when the next event is asked for, only what is acknowledged by hand.

    Relied on by agents/resolve.py: a batch is acknowledged when Kafka has all that it caused.
    """
    app = flowing_app()
    stream = (await stream_of(app, *map(message, range(3)))).noack()
    with canary("agents/resolve.py"):
        async for event in stream.events():
            if event.value == 1:
                await stream.ack(event)
            if event.value == 2:
                break
        assert app.consumer._acked[PARTITION] == [1]


async def test_revoking_forgets_before_the_last_commit() -> None:
    """Faust drops acknowledged and committed offsets before it waits for unfinished work and commits.

    Worked around in agents/lane.py: LaneConsumer.on_partitions_revoked keeps its ledgers until that is done.
    """
    consumer = flowing_app().consumer
    consumer._committed_offset[PARTITION] = 100
    consumer._acked[PARTITION] = [100, 101]
    met: list[tuple[Any, Any]] = []

    async def last_commit(_: Any) -> None:
        met.append((dict(consumer._acked), consumer._committed_offset[PARTITION]))

    consumer._on_partitions_revoked = last_commit
    await consumer.on_partitions_revoked({PARTITION})
    with canary("agents/lane.py"):
        assert met == [({}, None)]


STALE = """
import asyncio
from tests.upstream.canary import PARTITION, flowing_app, message, stream_of
async def main():
    app = flowing_app()
    app.consumer_generation_id = 2
    app.consumer._committed_offset[PARTITION] = 100
    async for _ in await stream_of(app, message(101, generation=1), message(100, generation=2)):
        print(app.consumer._acked[PARTITION])
        break
asyncio.run(main())
"""


@pytest.mark.parametrize(("environment", "acked"), [({"NO_CYTHON": "1"}, "[101]"), ({}, "[]")])
def test_pure_python_streams_acknowledge_what_they_skip(environment: dict[str, str], acked: str) -> None:
    """After a rebalance the pure-Python stream acknowledges messages of before, the compiled one does not.

    Worked around in agents/versions.py: without the compiled streams a worker does not start.
    """
    done = subprocess.run([sys.executable, "-c", STALE], env=environment, capture_output=True, text=True)
    with canary("agents/versions.py"):
        assert done.stdout.strip() == acked, done.stderr[-500:]


async def test_what_cannot_be_decoded_is_acknowledged_and_gone() -> None:
    """The conductor acknowledges a message that its topic cannot decode, and keeps nothing of it.

    Worked around in agents/lane.py: LaneSchema decodes nothing, so it cannot fail.
    """
    for schema, acknowledged in ((None, True), (LaneSchema(), False)):
        app = flowing_app()
        topic = app.topic(TOPIC, value_type=int, value_serializer="json", schema=schema)
        channel = topic.clone(is_iterator=True)
        deliver = app.topics._compiler.build(app.topics, PARTITION, {channel})
        bad = message(7, value=b"\xff no JSON")
        await deliver(bad)
        with canary("agents/lane.py"):
            assert bad.acked is acknowledged
