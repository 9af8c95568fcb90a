"""How Faust's tables recover, which is why the entity table has a store of its own, and the worker a watchdog."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.tables.recovery import ServiceStopped
from faust.types import TP
from mode import Service

from tests.upstream.canary import canary, new_app

CHANGELOG = TP("c", 0)


def recovered(offset: int, value: int | None) -> Any:
    """An event of a changelog."""
    raw = None if value is None else b"%d" % value
    message = SimpleNamespace(tp=CHANGELOG, offset=offset, partition=CHANGELOG.partition, value=raw, key=b"k")
    return SimpleNamespace(message=message, key="k", value=value)


async def test_the_memory_store_loses_a_falsy_value_set_after_a_delete() -> None:
    """Deleted and set to 0 within one batch of recovery, a key is gone.

    Worked around in agents/entity_table.py: EntityStore applies records one by one.
    """
    table = new_app().Table("w", default=int)
    table.apply_changelog_batch([recovered(1, 7), recovered(2, None), recovered(3, 0)])
    with canary("agents/entity_table.py"):
        assert dict(table.data.data) == {}


async def test_the_memory_store_knows_the_partition_of_recovered_keys_alone() -> None:
    """A key that this worker wrote stays when its partition is given away, and comes back as an old state.

    Worked around in agents/entity_table.py: EntityStore keeps one dict for each partition.
    """
    table = new_app().Table("w", default=int)
    table.apply_changelog_batch([recovered(1, 7)])
    table.data["mine"] = 5
    await table.data.on_recovery_completed(set(), set())
    with canary("agents/entity_table.py"):
        assert dict(table.data.data) == {"mine": 5}


class Unreadable(faust.Table):
    """A table whose changelog cannot be applied."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tried = asyncio.Semaphore(0)

    def apply_changelog_batch(self, *_: Any, **__: Any) -> None:
        self.tried.release()
        raise ValueError("no state")


async def test_an_error_in_recovery_is_only_logged() -> None:
    """What cannot be applied stays in the buffer and is tried again with every further record, for ever.

    Worked around in agents/entity_table.py: EntityStore.apply_changelog_batch ends the process.
    """
    app = new_app()
    table = Unreadable(app, name="u", default=int, recovery_buffer_size=1)
    recovery = app.tables.recovery
    recovery.tp_to_table[CHANGELOG], recovery.in_recovery = table, True
    recovery.active_tps.add(CHANGELOG)
    reading = asyncio.ensure_future(type(recovery)._slurp_changelogs.fun(recovery))
    for offset in range(3):
        app.tables.changelog_queue.put_nowait(recovered(offset, 1))
    with canary("agents/entity_table.py"):
        async with asyncio.timeout(10):
            for _ in range(3):
                await table.tried.acquire()
        await asyncio.sleep(0)
        assert not reading.done()
        assert len(recovery.buffers[table]) == 3
    reading.cancel()


async def test_a_recovery_buffer_of_one_keeps_the_changelog_flowing() -> None:
    """A table with room for one event in recovery has its changelog read on after it.

    Worked around in agents/app.py: RECOVERY_BATCHES is 2.
    """
    recovery = new_app().tables.recovery
    with canary("agents/app.py"):
        assert "recovery_buffer_size == 1" in inspect.getsource(type(recovery)._restart_recovery.fun)


async def test_one_time_out_is_taken_for_the_end_of_the_service() -> None:
    """A wait that takes too long says "stopped" of a service that runs, and ends the recovery for good.

    Worked around in agents/watchdog.py: a worker that does not become ready ends.
    """
    service = Service()
    await service.start()
    recovery = new_app().tables.recovery
    with canary("agents/watchdog.py"):
        outcome = await service.wait_first(asyncio.sleep(5), timeout=0.01)
        assert (outcome.stopped, service.should_stop) == (True, False)
        with pytest.raises(ServiceStopped):
            await recovery._wait(asyncio.sleep(5), timeout=0.01)
        assert not recovery.should_stop
    await service.stop()
