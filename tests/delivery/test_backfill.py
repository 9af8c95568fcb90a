"""All records again: with progress, over a restart, and never an older state after a newer one."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.conftest import Deployment
from tests.delivery.run import delivering
from tests.targets.reader import Reader

ENTITIES = 3_000


async def test_backfill(deployment: Deployment, tmp_path: Path) -> None:
    """A target that has lost everything has all of it again, although the worker was killed in the middle."""
    async with delivering(deployment, tmp_path, {"batch_entities": 100}) as run:
        await run.write((f"a:{number}", {"x": number}) for number in range(ENTITIES))
        await run.write([("a:1", None)])
        worker = run.start()
        await run.until_delivered()
        await run.until_pending(0)
        run.service.reader = Reader()
        calls = len(run.service.requests)
        await run.cli("backfill", "crm")
        await run.until(lambda: len(run.service.requests) > calls + 12, "no backfill")
        await run.end(worker, signal.SIGKILL)
        await run.cli("backfill", "crm", "--pause")
        run.start()
        await run.write([("a:2", {"x": -2})])
        await run.until(lambda: run.service.reader.contents.get("a:2") == {"x": -2}, "live ones wait")
        assert not all(one.backfill.get("done") for one in await run.status())
        await run.cli("backfill", "crm", "--resume")
        await run.until_delivered()
        await run.until_status(lambda found: all(one.backfill.get("done") for one in found), "not filled")
        run.assert_in_order(since=calls)
