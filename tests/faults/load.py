"""The load of a fault test: seeded changes of three sources, some of them bad, published at a steady rate."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
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
class Load:
    """What is published. seed, entities: which changes, of how many entities.

    changes: how many; None: on and on until it is told to finish, so that faults always meet a running load.
    per_second: at which rate.
    """

    seed: int = 1
    changes: int | None = 4000
    per_second: float = 400.0
    entities: int = 1000

    def items(self) -> Iterator[Item]:
        """The items, in the order in which they are to be published; the same ones each time."""
        return itertools.islice(Generator(self.seed, self.entities).items(), self.changes)


@dataclass(frozen=True, slots=True)
class Item:
    """One record of `changes`. change: its JSON form, None for a record that belongs in dead letters."""

    key: bytes
    value: bytes | None
    change: dict[str, Any] | None


class Generator:
    """Makes the items of one seed, without end."""

    def __init__(self, seed: int, entities: int) -> None:
        self._chance = random.Random(seed)
        self._entities = entities
        self._versions: dict[tuple[str, str], int] = {}
        self._recent: list[Item] = []
        self._now = START_MS

    def items(self) -> Iterator[Item]:
        """One after the other."""
        for number in itertools.count():
            self._now += STEP_MS
            kind = self._chance.random()
            if kind < BAD or not self._recent:
                item = self._bad(number) if self._recent else self._good(follow=False)
            elif kind < BAD + DUPLICATES:
                item = self._chance.choice(self._recent)
            else:
                item = self._good(follow=kind < BAD + DUPLICATES + CONFLICTING)
            if item.change is not None:
                self._recent = [*self._recent[1 - FOLLOWS_WITHIN :], item]
            yield item

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

    It ends when there are no more, or when it is told to. published: to which each item is added before it is sent.
    failure: what ended it early. repeated: how many records were sent again, and may be in the log twice.
    """

    def __init__(
        self, kafka: str, prefix: str, items: Iterator[Item], per_second: float, published: list[Item]
    ) -> None:
        super().__init__(name="feed", daemon=True)
        self.failure: BaseException | None = None
        self.repeated = 0
        self._kafka, self._prefix, self._items, self._per_second = kafka, prefix, items, per_second
        self._published = published
        self._finished, self._cancelled = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        """Have it end once Kafka has taken what was begun."""
        self._finished.set()

    def cancel(self) -> None:
        """Have it end, whatever Kafka has taken."""
        self._finished.set()
        self._cancelled.set()

    async def _publish(self) -> None:
        size = max(1, round(self._per_second / CHUNKS_A_SECOND))
        due = time.monotonic()
        async with Publisher(self._kafka, self._prefix) as publisher:
            while not self._finished.is_set() and (chunk := list(itertools.islice(self._items, size))):
                await asyncio.sleep(due - time.monotonic())
                due += len(chunk) / self._per_second
                self._published += chunk
                # A record without a value is what the publisher never makes, and what anybody can send.
                encoded = [Encoded(item.key, item.value) for item in chunk]  # type: ignore[arg-type]
                while not await self._taken(publisher, encoded):
                    self.repeated += len(chunk)
                    await asyncio.sleep(REPEAT_SECONDS)

    async def _taken(self, publisher: Publisher, chunk: list[Encoded]) -> bool:
        """Whether Kafka acknowledged all of it; part of it may be there if not."""
        if self._cancelled.is_set():
            return True
        try:
            await publisher.send(chunk)
        except (KafkaError, OSError):
            return False
        return True
