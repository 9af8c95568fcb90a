"""Calls that do not end: broken off before their partition is somebody else's, and when they take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from agents.delivery import courier as module
from agents.delivery.courier import Courier
from agents.delivery.metrics import DeliveryMetrics
from agents.delivery.notes import Notebook, Noted
from agents.names import TopicNames
from agents.targets.target import Receipt
from schemas.delivery_document import DeliveryDocument
from schemas.record import Position
from streams.delivery import Delivery
from streams.sync_modes import Plan
from streams.target_mapping import TargetMapping
from syncline.embedded import free_port
from tests.awaiting import until
from tests.targets.deliveries import TOPIC, golden


class Silent:
    """A user's own target that never comes back from a call."""

    def __init__(self) -> None:
        self.healthy = True
        self.calls = self.broken_off = 0

    async def open(self) -> None:
        """Nothing to do."""

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """Waits for ever."""
        self.calls += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off += 1
        return Receipt()

    async def close(self) -> None:
        """Nothing to do."""


def courier_of(target: Silent, still_member: Callable[[], bool] = lambda: True) -> Courier:
    """A courier with one delivery that is due."""
    known, said = asyncio.Event(), DeliveryDocument()
    known.set()
    courier = Courier(
        mapping=TargetMapping("crm", 1, None),
        said=said,
        plan=Plan.of(said, lambda name, settings: lambda waiting, moment: []),
        target=target,
        notebook=Notebook(f"127.0.0.1:{free_port()}"),
        names=TopicNames.with_prefix("t."),
        metrics=DeliveryMetrics(),
        read_to_end=lambda partition: True,
        orders_known=known,
        still_member=still_member,
    )
    courier.assigned({0: Noted(0, 0)}, 1)
    delivery = Delivery("crm", "a:1", golden("a:1", 0, {"x": 1}), Position(topic=TOPIC, partition=0, offset=0))
    courier.backlogs[0].read(0, 10_000, 10, delivery)
    return courier


async def test_a_call_is_broken_off_when_its_partition_goes() -> None:
    """After `let_go` nothing of it is under way; what it had is due again, and whole."""
    target = Silent()
    courier = courier_of(target)
    backlog = courier.backlogs[0]
    async with courier:
        await until(lambda: target.calls == 1, "no call was made")
        await courier.let_go(0.05)
        assert (target.broken_off, backlog.due, backlog.committable) == (1, 1, 0)
        assert [item.whole for item in backlog] == [True]
        courier.dropped()


async def test_no_call_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes too long counts as failed, is told by its kind, and comes again after a pause."""
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    target = Silent()
    courier = courier_of(target)
    async with courier:
        await until(lambda: target.calls >= 2, "the call was not made again")
        assert (target.broken_off >= 1, courier.trouble) == (True, "TimeoutError")


async def test_no_call_begins_while_the_group_does_not_confirm_the_worker() -> None:
    """Its partitions may be another one's by now; when it is confirmed again, it goes on."""
    target, confirmed = Silent(), False
    courier = courier_of(target, lambda: confirmed)
    async with courier:
        await asyncio.sleep(0.5)
        assert target.calls == 0
        confirmed = True
        await until(lambda: target.calls == 1, "no call was made")
        await courier.let_go(0.0)
        courier.dropped()
