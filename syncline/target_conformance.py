"""What every target must do, as tests: for ours, and for the author of one more.

    class TestMyTarget(RefusingTarget):        # or ConformingTarget, where it never refuses a record
        @pytest.fixture
        async def harness(self) -> AsyncIterator[Harness]: ...

Every entity has the fields of FIELDS, so that a table can be made for them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final, Protocol

import pytest

from agents.targets.loading import complaints
from agents.targets.target import Target, TargetUnavailable
from schemas.canonical import canonical
from schemas.golden_record import GoldenRecord
from schemas.record import Position
from streams.delivery import Delivery

TOPIC: Final = "syncline.records"

#: Field -> what it holds.
FIELDS: Final = {"name": "text", "count": "bigint", "ratio": "double", "active": "boolean", "extra": "jsonb"}

ANA: Final = {"name": "Ana", "count": 1, "ratio": 1.0, "active": True, "extra": {"tags": ["a", 1, 1.0, True, None]}}
HARD: Final[Mapping[str, Sequence[Any]]] = {
    "name": ["", "x", 'Zoë 🦊 \u2028 "\\\n\t', "1", "true", "null", "é", "e\u0301", "'; DROP TABLE customers; --"],
    "count": [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    "ratio": [0.0, 1.0, -1.5, 0.1, 1e-7, 1e300, 5e-324],
    "active": [True, False],
    "extra": [[], {}, [1, 1.0, True, None, "1"], {"é": {"z": [[{}]], "a": 2**53 + 1}}, {"": 0.1}, "text", 7, False],
}
#: What a call may take longer than the target's deadline, on a machine that is busy.
GRACE_SECONDS: Final = 5.0
RECOVERY_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 0.05


class Harness(Protocol):
    """A target, opened, that nobody else uses, and what a test needs beside it."""

    target: Target

    async def contents(self) -> dict[str, dict[str, Any]]:
        """Entity key -> fields, of all entities that exist, as a reader has them who follows the documentation."""

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Meanwhile the target cannot be reached, or does not answer."""


class RefusingHarness(Harness, Protocol):
    """bad: fields that the target refuses."""

    bad: dict[str, Any]


def delivery(
    key: str,
    offset: int,
    fields: dict[str, Any] | None,
    changed: Iterable[str] | None = None,
    generation: int = 1,
    target: str = "crm",
) -> Delivery:
    """A delivery of an entity whose record is at this offset of `records`; fields None: deleted."""
    position = Position(topic=TOPIC, partition=3, offset=offset)
    record = None if fields is None else golden(key, offset, fields)
    return Delivery(target, key, record, position, generation, None if changed is None else frozenset(changed))


def golden(key: str, offset: int, fields: dict[str, Any]) -> GoldenRecord:
    """A golden record with these fields, each from change `offset + 1` of the CRM."""
    entity_type, _, entity_id = key.partition(":")
    dot = {"source": "crm", "version": offset + 1}
    return GoldenRecord.model_validate(
        {
            "entity_type": entity_type,
            "entity_id": entity_id,
            "fields": fields,
            "provenance": {name: [{**dot, "occurred_at": offset, "event_id": f"e{offset}"}] for name in fields},
            "clock": {"crm": offset + 1},
            "contested": [],
            "pending": [],
            "policy_version": "p1",
            "position": {"topic": "syncline.changes", "partition": 3, "offset": offset},
        }
    )


class Sender:
    """Sends what is written as the delivery engine does, until it is acknowledged.

    A field counts as changed from the first attempt to deliver another value of it until an acknowledgement, also if it
    has changed back meanwhile: the attempt may have arrived. sent: every delivery ever made, for those that come again.
    """

    def __init__(self, prefix: str) -> None:
        self.sent: list[Delivery] = []
        self._prefix = prefix
        self._written: dict[str, Delivery] = {}
        self._acknowledged: dict[str, Delivery] = {}
        self._attempted: dict[str, frozenset[str]] = {}

    def write(self, name: str, fields: dict[str, Any] | None) -> None:
        """An entity's next record."""
        key = f"{self._prefix}{name}"
        self._written.pop(key, None)  # so that the newest comes last
        self._written[key] = delivery(key, len(self.sent) + 1, fields)
        self.sent.append(self._written[key])

    def batch(self) -> list[Delivery]:
        """What the target is not known to have, in the order of writing."""
        due = [self._with_changes(each) for key, each in self._written.items() if self._acknowledged.get(key) != each]
        self.sent += due
        return due

    def acknowledge(self, batch: Iterable[Delivery]) -> None:
        """The target has these."""
        for each in batch:
            self._acknowledged[each.key] = self._written[each.key]
            self._attempted[each.key] = frozenset()

    def expected(self) -> dict[str, dict[str, Any]]:
        """What the target is to have in the end."""
        return {key: each.fields for key, each in self._written.items() if each.fields is not None}

    def _with_changes(self, each: Delivery) -> Delivery:
        held = self._acknowledged.get(each.key)
        if held is None or held.fields is None or each.fields is None or each.key not in self._attempted:
            self._attempted.pop(each.key, None)
            return each
        before, after = ({name: canonical(value) for name, value in one.items()} for one in (held.fields, each.fields))
        differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        self._attempted[each.key] |= differing
        return replace(each, changed=self._attempted[each.key])


class ConformingTarget:
    """The tests that need no record which is refused."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def deadline_seconds(self) -> float:
        """For the harness: the deadline that the target is to have, short only where it is waited for."""
        return 30.0

    async def test_it_is_a_target(self, harness: Harness) -> None:
        """It has all that the interface names."""
        assert complaints(harness.target) == []

    async def test_types_come_through(self, harness: Harness) -> None:
        """Each value is the same afterwards: 2^53+1, 1, 1.0 and true are four values, and text is text."""
        batch = [
            delivery(f"customer:{field}-{number}", number, {field: value})
            for field, values in HARD.items()
            for number, value in enumerate(values)
        ]
        receipt = await harness.target.deliver(batch)
        assert receipt.refused == {}
        assert receipt.sent_bytes > 0
        assert_contents(await harness.contents(), {each.key: each.fields or {} for each in batch})

    async def test_any_key(self, harness: Harness) -> None:
        """An entity id is any text: with colons, spaces, quotes and signs of other scripts."""
        batch = [delivery(f"customer:{name}", 1, ANA) for name in ("a:b", " ", "'\"\\", "{}", "*", "日本", "🦊" * 60)]
        assert (await harness.target.deliver(batch)).refused == {}
        assert_contents(await harness.contents(), {each.key: ANA for each in batch})

    async def test_an_empty_batch(self, harness: Harness) -> None:
        """Nothing is nothing."""
        assert (await harness.target.deliver([])).refused == {}
        assert await harness.contents() == {}

    async def test_the_same_batch_twice_is_one_effect(self, harness: Harness) -> None:
        """What is delivered again changes nothing."""
        batch = [
            delivery("customer:1", 1, ANA),
            delivery("customer:2", 2, {"count": 2}),
            delivery("customer:3", 3, None),
        ]
        for _ in range(2):
            assert (await harness.target.deliver(batch)).refused == {}
            assert_contents(await harness.contents(), {"customer:1": ANA, "customer:2": {"count": 2}})

    async def test_older_never_overwrites_newer(self, harness: Harness) -> None:
        """Neither a state nor a delete that comes late counts, nor an older state of a deleted entity."""
        await harness.target.deliver([delivery("customer:1", 5, ANA), delivery("customer:2", 6, None)])
        late = [
            delivery("customer:1", 3, {"count": 3}),
            delivery("customer:2", 4, ANA),
            delivery("customer:1", 4, None),
        ]
        assert (await harness.target.deliver(late)).refused == {}
        assert_contents(await harness.contents(), {"customer:1": ANA})

    async def test_one_batch_in_order(self, harness: Harness) -> None:
        """Of several states of one entity in a batch the last one stays."""
        states: list[dict[str, Any] | None] = [{"count": 1}, None, {"count": 2}, {"count": 3, "name": "x"}]
        await harness.target.deliver([delivery("customer:1", offset, state) for offset, state in enumerate(states)])
        await harness.target.deliver([delivery("customer:2", 1, {"count": 1}), delivery("customer:2", 2, None)])
        assert_contents(await harness.contents(), {"customer:1": {"count": 3, "name": "x"}})

    async def test_deletes(self, harness: Harness) -> None:
        """A deleted entity is gone, also one that was never there, and comes back with what is newer."""
        await harness.target.deliver([delivery("customer:1", 1, ANA), delivery("customer:2", 1, ANA)])
        await harness.target.deliver([delivery("customer:1", 2, None), delivery("customer:9", 2, None)])
        assert_contents(await harness.contents(), {"customer:2": ANA})
        await harness.target.deliver([delivery("customer:1", 3, {"count": 3})])
        assert_contents(await harness.contents(), {"customer:1": {"count": 3}, "customer:2": ANA})

    async def test_changed_fields_alone(self, harness: Harness) -> None:
        """Where it is told what changed, the rest stays, and a field that is gone is gone."""
        await harness.target.deliver([delivery("customer:1", 1, ANA)])
        after = {name: value for name, value in ANA.items() if name != "extra"} | {"count": 2}
        await harness.target.deliver([delivery("customer:1", 2, after, changed=["count", "extra"])])
        assert_contents(await harness.contents(), {"customer:1": after})
        last = {"name": "Eve", "count": 3, "active": False}
        middle = delivery("customer:1", 3, last | {"count": 2}, changed=["name", "active", "ratio"])
        await harness.target.deliver([middle, delivery("customer:1", 4, last, changed=["count"])])
        assert_contents(await harness.contents(), {"customer:1": last})

    async def test_a_higher_generation_is_newer(self, harness: Harness) -> None:
        """Raised by hand, it lets a topic that was made anew begin at offset 0 again."""
        await harness.target.deliver([delivery("customer:1", 500, ANA)])
        await harness.target.deliver([delivery("customer:1", 0, {"count": 2}, generation=2)])
        await harness.target.deliver([delivery("customer:1", 501, ANA)])
        assert_contents(await harness.contents(), {"customer:1": {"count": 2}})

    async def test_a_large_batch(self, harness: Harness) -> None:
        """A thousand entities at once."""
        batch = [delivery(f"customer:{number}", number, {"count": number}) for number in range(1000)]
        assert (await harness.target.deliver(batch)).refused == {}
        assert_contents(await harness.contents(), {each.key: each.fields or {} for each in batch})

    async def test_it_opens_again(self, harness: Harness) -> None:
        """Closed and opened, or opened twice, it is what it was."""
        await harness.target.deliver([delivery("customer:1", 2, ANA)])
        await harness.target.close()
        await harness.target.close()
        await harness.target.open()
        await harness.target.open()
        await harness.target.deliver([delivery("customer:1", 1, None), delivery("customer:2", 1, ANA)])
        assert_contents(await harness.contents(), {"customer:1": ANA, "customer:2": ANA})

    @pytest.mark.parametrize("deadline_seconds", [1.0])
    async def test_an_outage_is_told_within_the_deadline(self, harness: Harness, deadline_seconds: float) -> None:
        """It raises TargetUnavailable each time, says that it is not healthy, and recovers by itself."""
        await delivered(harness.target, [delivery("customer:1", 1, ANA)])
        assert harness.target.healthy
        lost = [delivery("customer:1", 2, {"count": 2}), delivery("customer:2", 2, ANA)]
        async with harness.outage():
            for _ in range(2):
                with pytest.raises(TargetUnavailable) as raised:
                    async with asyncio.timeout(deadline_seconds + GRACE_SECONDS):
                        await harness.target.deliver(lost)
                assert raised.value.reason
                assert not harness.target.healthy
        await delivered(harness.target, lost)
        assert harness.target.healthy
        assert_contents(await harness.contents(), {"customer:1": {"count": 2}, "customer:2": ANA})

    async def test_calls_may_overlap(self, harness: Harness) -> None:
        """Batches that have no entity in common are delivered side by side."""
        batches = [[delivery(f"customer:{one}-{at}", at, {"count": at}) for at in range(20)] for one in range(8)]
        await asyncio.gather(*(harness.target.deliver(batch) for batch in batches))
        assert_contents(await harness.contents(), {each.key: each.fields or {} for batch in batches for each in batch})

    @pytest.mark.parametrize("seed", [1, 2])
    async def test_any_order_ends_in_the_last_state(self, harness: Harness, seed: int) -> None:
        """Acknowledgements get lost, deliveries come again in any order: in the end it has what was written last."""
        chance, sender = random.Random(seed), Sender("customer:")
        for _ in range(30):
            for name in chance.sample("abcdef", chance.randint(0, 4)):
                sender.write(name, some_fields(chance))
            batch = sender.batch()
            await harness.target.deliver(batch)
            if chance.random() < 0.6:
                sender.acknowledge(batch)
            await harness.target.deliver(chance.choices(sender.sent, k=chance.randint(0, 5)) if sender.sent else [])
        await harness.target.deliver(sender.batch())
        assert_contents(await harness.contents(), sender.expected())


class RefusingTarget(ConformingTarget):
    """All tests."""

    async def test_what_is_refused_does_not_hold_the_others(self, harness: RefusingHarness) -> None:
        """Each refused record is named with its reason, all others are delivered, and nobody's value is told."""
        refused = {0, 3, 4, 8}
        batch = [delivery(f"customer:{at}", at, harness.bad if at in refused else {"count": at}) for at in range(9)]
        receipt = await harness.target.deliver(batch)
        assert set(receipt.refused) == refused
        assert all(reason and len(reason.splitlines()) == 1 for reason in receipt.refused.values())
        assert not [value for value in harness.bad.values() if str(value) in " ".join(receipt.refused.values())]
        assert harness.target.healthy
        assert_contents(await harness.contents(), {f"customer:{at}": {"count": at} for at in (1, 2, 5, 6, 7)})

    async def test_what_follows_a_refused_state(self, harness: RefusingHarness) -> None:
        """A later state of the same entity that can be taken is taken."""
        batch = [delivery("customer:1", 1, harness.bad), delivery("customer:1", 2, {"count": 2})]
        receipt = await harness.target.deliver([*batch, delivery("customer:2", 3, harness.bad)])
        assert set(receipt.refused) <= {0, 2}
        assert 2 in receipt.refused
        assert_contents(await harness.contents(), {"customer:1": {"count": 2}})


async def opened(target: Target) -> None:
    """Open it, as often as that is unavailable: a short deadline may be too short for a machine that is busy."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                return await target.open()
            except TargetUnavailable:
                await asyncio.sleep(RETRY_SECONDS)


async def delivered(target: Target, batch: Sequence[Delivery]) -> None:
    """Deliver what nothing is refused of, likewise."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                assert (await target.deliver(batch)).refused == {}
                return
            except TargetUnavailable:
                await asyncio.sleep(RETRY_SECONDS)


def some_fields(chance: random.Random) -> dict[str, Any] | None:
    """Fields with hard values, or None for a delete."""
    if chance.random() < 0.2:
        return None
    return {name: chance.choice(values) for name, values in HARD.items() if chance.random() < 0.7}


def assert_contents(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare with their types: 1, 1.0 and true are not the same."""
    assert {key: canonical(fields) for key, fields in found.items()} == {
        key: canonical(fields) for key, fields in expected.items()
    }
