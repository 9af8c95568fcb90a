"""A target that misbehaves and workers that are killed: every golden state arrives, in order, and nothing is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from schemas.canonical import canonical
from streams.export import export_line
from tests.conftest import Deployment
from tests.delivery.run import DeliveryRun, delivering
from tests.faults.broker import Broker
from tests.targets.web_service import (
    Behaviour,
    Service,
    accepting,
    answering,
    crashing,
    one_by_one,
    resetting,
    silent,
)

pytestmark = pytest.mark.real_kafka

ENTITIES = 60
TROUBLES: dict[str, Behaviour] = {
    "away": resetting,
    "500": answering(500),
    "429": answering(429, Retry_After="1"),
    "silent": silent,
    "takes it and dies": crashing,
}
WINDOW_ENTITIES = 100_000
AWAY_SECONDS = 3.0


def digest(contents: dict[str, dict[str, Any]]) -> str:
    """What `syncline digest` says of a place that holds this, where nothing is contested."""
    lines = (export_line(key, canonical(fields), "[]") for key, fields in sorted(contents.items()))
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


async def verify(run: DeliveryRun) -> None:
    """The target has what `records` has, by digest; nothing is pending; no state came after a newer one."""
    await run.until_delivered()
    await run.until_pending(0)
    run.assert_in_order()
    (records,) = json.loads(await run.cli("digest", "records", "-o", "json"))
    assert records["sha256"] == digest(run.service.reader.contents)


async def change(run: DeliveryRun, seconds: float, number: int) -> None:
    """Change entities, and now and then delete one, for some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        await run.write([(f"a:{number * 7 % ENTITIES}", {"x": number} if number % 11 else None)])
        await asyncio.sleep(0.01)


async def test_whatever_a_target_does(breakable: Deployment, tmp_path: Path) -> None:
    """Away, 500, 429, silent, or dead right after it took a batch: all of it arrives when that is over."""
    async with delivering(breakable, tmp_path) as run:
        run.start()
        await run.write([("a:0", {"x": 0})])
        await run.until_delivered()
        for number, (trouble, behaviour) in enumerate(TROUBLES.items()):
            calls = len(run.service.requests)
            run.service.always = behaviour
            await change(run, 0.5, 1000 * number)
            await run.until_called(calls + 2)
            if trouble != "takes it and dies":
                await run.until_status(lambda found: any(one.status["error"] for one in found), f"{trouble} not told")
            run.service.always = accepting
            await run.until_delivered()
        await verify(run)


async def test_a_target_that_asks_to_be_left_alone(breakable: Deployment, tmp_path: Path) -> None:
    """After 429 with Retry-After there is no call before that time is over."""
    async with delivering(breakable, tmp_path) as run:
        times: list[float] = []

        async def busy(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
            times.append(time.monotonic())
            return await answering(429, Retry_After="3")(service, request, messages)

        async def free(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
            times.append(time.monotonic())
            return await accepting(service, request, messages)

        run.service.next.append(busy)
        run.service.always = free
        await run.write((f"a:{number}", {"x": number}) for number in range(ENTITIES))
        run.start()
        await verify(run)
        assert times[1] - times[0] >= 2.9


async def test_half_a_batch_refused(breakable: Deployment, tmp_path: Path) -> None:
    """The other half arrives, the refused half lies in dead letters, and arrives when it is driven again."""
    async with delivering(breakable, tmp_path) as run:
        run.service.always = one_by_one
        run.service.refuses = lambda message: int(message["key"][2:]) % 2 == 1
        await run.write((f"a:{number}", {"x": number}) for number in range(ENTITIES))
        run.start()
        await run.until_letters(ENTITIES // 2)
        await run.until(lambda: len(run.service.reader.contents) == ENTITIES // 2, "the other half lacks")
        run.service.refuses = lambda message: False
        await run.cli("targets", "dead-letters", "redrive", "crm")
        await verify(run)
        await run.until_letters(0)


async def test_a_worker_killed_in_mid_window(breakable: Deployment, tmp_path: Path) -> None:
    """What waited for the end of the window is read again by the next worker, and goes."""
    async with delivering(breakable, tmp_path, {"mode": "windowed_batch", "window": "1h"}) as run:
        worker = run.start()
        await change(run, 1.0, 0)
        await run.until_waiting(10)
        await run.end(worker, signal.SIGKILL)
        assert run.messages() == []
        run.start()
        await change(run, 0.5, 5000)
        await run.cli("sync", "crm", "--now")
        await verify(run)


async def test_workers_come_and_go_in_mid_window(breakable: Deployment, tmp_path: Path) -> None:
    """Two workers share the partitions of a target, one is killed: every window goes, by whoever has it."""
    async with delivering(breakable, tmp_path, {"mode": "windowed_batch", "window": "1s"}) as run:
        first = run.start()
        await change(run, 1.5, 0)
        await run.until(lambda: bool(run.service.requests), "no window went")
        second = run.start()
        await run.until(second.ready, "the second worker is not ready")
        await change(run, 1.5, 2000)
        await run.end(first, signal.SIGKILL)
        await change(run, 1.0, 4000)
        run.start()
        await change(run, 1.0, 6000)
        await run.end(second)
        await verify(run)


async def test_a_worker_joins_in_mid_window(breakable: Deployment, tmp_path: Path) -> None:
    """What waited for the window's end when partitions moved goes with it, once, by whoever has it then."""
    async with delivering(breakable, tmp_path, {"mode": "windowed_batch", "window": "1h"}) as run:
        run.start()
        await run.write((f"a:{number}", {"x": number}) for number in range(ENTITIES))
        await run.until_waiting(ENTITIES)
        second = run.start()
        await run.until(second.ready, "the second worker is not ready")
        await run.until_waiting(ENTITIES)
        assert run.messages() == []
        await run.cli("sync", "crm", "--now")
        await verify(run)
        assert len(run.messages()) == ENTITIES


async def slow(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Takes its time."""
    await asyncio.sleep(0.2)
    return await accepting(service, request, messages)


async def test_the_broker_is_lost_while_a_call_is_under_way(
    broker: Broker, breakable: Deployment, tmp_path: Path
) -> None:
    """What the target took is settled, or sent again, when Kafka is back; all of it arrives, in order."""
    async with delivering(breakable, tmp_path, {"batch_entities": 5}) as run:
        run.start()
        await run.write((f"a:{number}", {"x": number}) for number in range(ENTITIES))
        await run.until_called(1)
        run.service.always = slow
        await run.write((f"a:{number}", {"x": -number}) for number in range(ENTITIES))
        await run.until_called(3)
        await asyncio.to_thread(broker.server.kill)
        await asyncio.sleep(AWAY_SECONDS)
        run.service.always = accepting
        await asyncio.to_thread(broker.server.start)
        await verify(run)


async def test_a_large_window(breakable: Deployment, tmp_path: Path) -> None:
    """It goes in calls of bounded size, each entity once, with its last state."""
    async with delivering(
        breakable, tmp_path, {"mode": "windowed_batch", "window": "1h", "max_entities": 10 * WINDOW_ENTITIES}
    ) as run:
        await run.write((f"a:{number}", {"x": 0}) for number in range(WINDOW_ENTITIES))
        await run.write((f"a:{number}", {"x": number}) for number in range(0, WINDOW_ENTITIES, 2))
        run.start()
        await run.until_waiting(WINDOW_ENTITIES)
        await run.cli("sync", "crm", "--now")
        await run.until_called(WINDOW_ENTITIES // 500)
        await verify(run)
        assert len(run.messages()) == WINDOW_ENTITIES
        assert len(run.service.requests) <= WINDOW_ENTITIES // 500 + 5
