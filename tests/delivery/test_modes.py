"""Each mode on a real target: what reaches it, when, and that it ends with what `records` has."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import Deployment
from tests.delivery.run import delivering

DAY_MS = 24 * 3600 * 1000


async def test_realtime(deployment: Deployment, tmp_path: Path) -> None:
    """What comes is delivered, deletes too; a worker that is stopped ends in order and leaves nothing to do."""
    async with delivering(deployment, tmp_path) as run:
        await run.write((f"a:{number}", {"x": number}) for number in range(50))
        worker = run.start()
        await run.until_delivered()
        await run.write([("a:1", None), ("a:2", {"x": 7})])
        await run.until_delivered()
        assert await run.end(worker) == 0
        calls = len(run.service.requests)
        run.start()
        await run.write([("a:3", {"x": 8})])
        await run.until_delivered()
        assert len(run.service.requests) == calls + 1


async def test_incremental(deployment: Deployment, tmp_path: Path) -> None:
    """Fields that changed go alone; nothing where none did; all of them where an attempt may have been made before."""
    async with delivering(deployment, tmp_path, {"mode": "incremental"}) as run:
        await run.write([("a:1", {"x": 1, "y": 1})])
        worker = run.start()
        await run.until_delivered()
        await run.write([("a:1", {"x": 2, "y": 1})])
        await run.until_delivered()
        await run.write([("a:1", {"x": 2, "y": 1}), ("b:1", {"x": 5})])
        await run.until_delivered()
        assert [(m["key"], m["fields"], m["partial"]) for m in run.messages()] == [
            ("a:1", {"x": 1, "y": 1}, False),
            ("a:1", {"x": 2}, True),
            ("b:1", {"x": 5}, False),
        ]
        assert await run.end(worker) == 0
        run.start()
        await run.write([("a:1", {"y": 1})])
        await run.until_delivered()
        assert (run.messages()[-1]["fields"], run.messages()[-1]["partial"]) in (({"x": None}, True), ({"y": 1}, False))


async def test_windows_commands_and_other_modes(deployment: Deployment, tmp_path: Path) -> None:
    """Orders at once and the rest with the window of the day before; then by hand, and as the command line says."""
    modes = {"mode": "windowed_batch", "window": "1d", "rules": {"orders": {"entities": ["order"], "mode": "realtime"}}}
    now_ms = int(time.time() * 1000)
    today_ms = now_ms - now_ms % DAY_MS
    async with delivering(deployment, tmp_path, modes) as run:
        await run.write([("a:1", {"x": 1}), ("a:2", {"x": 1}), ("a:1", {"x": 2})], at_ms=today_ms - 1000)
        run.start()
        await run.until_delivered()
        assert len(run.messages()) == 2
        # What was recorded today waits for the night, orders do not.
        await run.write([("a:1", {"x": 3}), ("a:2", {"x": 3}), ("a:1", {"x": 4}), ("order:1", {"x": 1})])
        await run.until(lambda: "order:1" in run.service.reader.contents, "no order")
        assert run.service.reader.contents["a:1"] == {"x": 2}
        await run.until_pending(2)
        told = await run.told("targets", "pending", "crm")
        assert sorted(row["key"] for row in told["pending"]) == ["a:1", "a:2"]
        await run.cli("sync", "crm", "--now")
        await run.until_delivered()
        assert len(run.messages()) == 5
        # By hand.
        await run.cli("targets", "mode", "crm", "manual")
        await run.write([("a:3", {"x": 1}), ("order:1", {"x": 2})])
        await run.until_pending(2)
        assert '"pending":2' in await run.cli("targets", "clear-pending", "crm", "--dry-run")
        await run.cli("targets", "clear-pending", "crm")
        await run.until_pending(0)
        await run.write([("order:1", {"x": 3})])
        await run.cli("targets", "mode", "crm", "--reset")
        await run.until(lambda: run.service.reader.contents["order:1"] == {"x": 3}, "order:1 lacks")
        assert "a:3" not in run.service.reader.contents
        # Paused.
        await run.cli("targets", "pause", "crm")
        await run.until_status(lambda found: any(one.status["paused"] for one in found), "not paused")
        await run.write([("order:2", {"x": 1})])
        await run.until_pending(1)
        assert "order:2" not in run.service.reader.contents
        await run.cli("targets", "resume", "crm")
        await run.until(lambda: "order:2" in run.service.reader.contents, "order:2 lacks")
        await run.until_pending(0)
        assert (await run.told("targets", "status", "crm"))[0]["error"] is None
