"""The load of a fault test: seeded changes of three sources, some of them bad, published at a steady rate."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from schemas.change import Change
from schemas.codec import encode_change
from syncline.publisher import Encoded, Publisher

ENTITY_TYPE = "customer"
SOURCES = ("crm", "billing", "web")
POLICY: dict[str, Any] = {
    "priority": list(SOURCES),
    "convergence_window": "1s",
    "entities": {
        ENTITY_TYPE: {
            "fields": {
                "balance": {"resolver": "sum"},
                "tags": {"resolver": "union"},
                "phone": {"resolver": "source_priority"},
                "tier": {"resolver": "keep_siblings"},
            }
        }
    },
}
BAD, DUPLICATES, CONFLICTING, DELETES, INFORMED = 0.01, 0.03, 0.30, 0.02, 0.25
#: A conflicting change follows one of so many changes before it.
FOLLOWS_WITHIN = 40
START_MS, STEP_MS = 1_760_000_000_000, 700
CHUNKS_A_SECOND = 10
REPEAT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Item:
    """One record of `changes`. change: its JSON form, None for a record that belongs in dead letters."""

    key: bytes
    value: bytes | None
    change: dict[str, Any] | None


class Generator:
    """Makes the items of one seed: `items()` is the same list for the same arguments."""

    def __init__(self, seed: int, entities: int) -> None:
        self._chance = random.Random(seed)
        self._entities = entities
        self._versions: dict[tuple[str, str], int] = {}
        self._recent: list[Item] = []
        self._now = START_MS

    def items(self, count: int) -> list[Item]:
        """So many items, in the order in which they are to be published."""
        items: list[Item] = []
        for number in range(count):
            self._now += STEP_MS
            kind = self._chance.random()
            if kind < BAD or not self._recent:
                items.append(self._bad(number) if self._recent else self._good(follow=False))
            elif kind < BAD + DUPLICATES:
                items.append(self._chance.choice(self._recent))
            else:
                items.append(self._good(follow=kind < BAD + DUPLICATES + CONFLICTING))
            if items[-1].change is not None:
                self._recent = [*self._recent[1 - FOLLOWS_WITHIN :], items[-1]]
        return items

    def _good(self, *, follow: bool) -> Item:
        """A change; with `follow` one of what another source changed a moment before, unaware of it."""
        chance = self._chance
        entity, source, at = f"c-{chance.randrange(self._entities):05d}", chance.choice(SOURCES), self._now
        if follow:
            other = chance.choice(self._recent).change or {}
            entity, at = other["entity_id"], other["occurred_at"] + chance.randint(-900, 900)
            source = chance.choice([name for name in SOURCES if name != other["source"]])
        seen = {name: self._versions[entity, name] for name in SOURCES if (entity, name) in self._versions}
        self._versions[entity, source] = self._versions.get((entity, source), 0) + 1
        deleted = chance.random() < DELETES
        change = Change.fill(
            {
                "entity_type": ENTITY_TYPE,
                "entity_id": entity,
                "op": "delete" if deleted else "update",
                "source": source,
                "version": self._versions[entity, source],
                "occurred_at": at,
                "seen": seen if not follow and chance.random() < INFORMED else None,
                "fields": {} if deleted else self._fields(),
            },
            0,
            0,
        )
        return Item(change.key.encode(), encode_change(change), change.model_dump())

    def _fields(self) -> dict[str, Any]:
        chance = self._chance
        values: dict[str, Any] = {
            "name": f"name {chance.randrange(10_000)}",
            "phone": f"+32 9 {chance.randrange(10_000)}",
            "tier": chance.choice(["basic", "silver", "gold"]),
            "balance": chance.randrange(1_000),
            "tags": chance.sample(["a", "b", "c", "d", "e"], 2),
        }
        return {name: values[name] for name in chance.sample(sorted(values), chance.randint(1, 3))}

    def _bad(self, number: int) -> Item:
        """No Avro, half a change, no value at all, or a change under another entity's key."""
        good = self._chance.choice(self._recent)
        key, mark = f"{ENTITY_TYPE}:bad-{number}".encode(), b"%d" % number
        value = self._chance.choice([b"no change " + mark, (good.value or b"")[:20], None, good.value])
        return Item(key, value, None)


class Feed(threading.Thread):
    """Publishes items at a steady rate in the background, repeating what Kafka did not take.

    failure: what ended it early. repeated: how many records were sent again, and may be in the log twice.
    """

    def __init__(self, kafka: str, prefix: str, items: Sequence[Item], per_second: float) -> None:
        super().__init__(name="feed", daemon=True)
        self.failure: BaseException | None = None
        self.repeated = 0
        self._kafka, self._prefix, self._items, self._per_second = kafka, prefix, items, per_second
        self._cancelled = threading.Event()

    def run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:
            self.failure = error

    def cancel(self) -> None:
        """End it before it has published everything."""
        self._cancelled.set()

    async def _publish(self) -> None:
        size = max(1, round(self._per_second / CHUNKS_A_SECOND))
        started = time.monotonic()
        async with Publisher(self._kafka, self._prefix) as publisher:
            for first in range(0, len(self._items), size):
                await asyncio.sleep(started + first / self._per_second - time.monotonic())
                # A record without a value is what the publisher never makes, and what anybody can send.
                chunk = [Encoded(item.key, item.value) for item in self._items[first : first + size]]  # type: ignore[arg-type]
                while not await self._taken(publisher, chunk):
                    self.repeated += len(chunk)
                    await asyncio.sleep(REPEAT_SECONDS)
                if self._cancelled.is_set():
                    return

    async def _taken(self, publisher: Publisher, chunk: list[Encoded]) -> bool:
        """Whether Kafka acknowledged all of it; part of it may be there if not."""
        if self._cancelled.is_set():
            return True
        try:
            await publisher.send(chunk)
        except (KafkaError, OSError):
            return False
        return True
