"""The reference job: a seeded stream of changes of customers, the same for every system that is measured.

A few entities are much busier than others, three sources write, each change says two to four of six fields.
Sources are blind (`seen` is not known), which is the costlier case for Syncline.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from benchmarks.rule import CONVERGENCE_WINDOW_MS, PRIORITY
from schemas.change import Change
from schemas.codec import encode_change

SEED = 20251122
ENTITY_TYPE = "customer"
SOURCES = {"crm": 3, "billing": 2, "web": 5}
POLICY = {"priority": list(PRIORITY), "convergence_window": CONVERGENCE_WINDOW_MS}

DUPLICATES, CONTESTED, DELETES = 0.02, 0.12, 0.02
#: A duplicate repeats one of the changes before it, at most this many back.
REDELIVERED_WITHIN = 90
START_MS = 1_760_000_000_000
STEP_MS = 40
CLOCK_SPREAD_MS = 3_000

FIELDS = ("address", "balance", "email", "name", "phone", "tier")
GIVEN = ("Ada", "Bruno", "Chidi", "Dora", "Emre", "Freya", "Goran", "Hana")
FAMILY = ("Okafor", "Lindqvist", "Moreau", "Petrov", "Tanaka", "Varga", "Weber")
TIERS = ("basic", "bronze", "silver", "gold")


@dataclass(frozen=True, slots=True)
class Job:
    """What is generated: so many changes of at most so many entities."""

    changes: int
    entities: int = 50_000
    seed: int = SEED


class Event(NamedTuple):
    """One change before it is encoded. fields is empty for a delete."""

    number: int
    source: str
    version: int
    occurred_at: int
    deleted: bool
    fields: dict[str, Any]

    @property
    def entity_id(self) -> str:
        return f"c-{self.number:08d}"

    @property
    def key(self) -> bytes:
        """The entity key, which is the record's key in both topics."""
        return f"{ENTITY_TYPE}:{self.entity_id}".encode()

    @property
    def event_id(self) -> str:
        """The id of the change; a duplicate has it, too."""
        return f"{ENTITY_TYPE}:{self.entity_id}@{self.source}@{self.version}"


def events(job: Job) -> Iterator[Event]:
    """The job's changes in the order in which they are produced."""
    chance = random.Random(job.seed)
    numbers = list(range(job.entities))
    chance.shuffle(numbers)
    popularity = list(accumulate((rank + 60) ** -0.75 for rank in range(job.entities)))
    versions: dict[tuple[int, str], int] = {}
    recent: list[Event] = []
    now = START_MS
    for number in chance.choices(numbers, cum_weights=popularity, k=job.changes):
        now += STEP_MS
        kind = chance.random()
        if recent and kind < DUPLICATES:
            yield recent[-chance.randint(1, min(len(recent), REDELIVERED_WITHIN))]
            continue
        source = chance.choices(list(SOURCES), list(SOURCES.values()))[0]
        occurred_at = now + round(chance.gauss(0, CLOCK_SPREAD_MS))
        if recent and kind < DUPLICATES + CONTESTED:
            # Somebody else's change of what was changed a moment ago.
            number, occurred_at = recent[-1].number, recent[-1].occurred_at + chance.randint(-900, 900)
            source = chance.choice([name for name in SOURCES if name != recent[-1].source])
        deleted = chance.random() < DELETES
        names = () if deleted else chance.sample(FIELDS, chance.randint(2, 4))
        version = versions[number, source] = versions.get((number, source), 0) + 1
        event = Event(number, source, version, occurred_at, deleted, {n: _value(chance, n, number) for n in names})
        recent.append(event)
        if len(recent) > 2 * REDELIVERED_WITHIN:
            del recent[:REDELIVERED_WITHIN]
        yield event


def _value(chance: random.Random, field: str, number: int) -> Any:
    """One of four values of a field of an entity, so that sources sometimes agree; any amount for a balance."""
    variant = chance.randrange(4)
    given, family = GIVEN[(number + variant) % len(GIVEN)], FAMILY[number % len(FAMILY)]
    match field:
        case "name":
            return f"{given} {family}"
        case "email":
            return f"{given}.{family}.{number}@example.org".lower()
        case "phone":
            return f"+32 9 {(number * 7 + variant) % 10_000_000:07d}"
        case "tier":
            return TIERS[variant]
        case "balance":
            return chance.randrange(1_000_000) / 100
        case _:
            return f"{1 + (number + variant) % 240} Station Road, {1000 + number % 9000} Ghent"


def as_avro(event: Event) -> bytes:
    """The change as Syncline reads it: Avro in Confluent framing."""
    return encode_change(Change.model_validate(_document(event)))


def as_json(event: Event) -> bytes:
    """The same change as the others read it."""
    return orjson.dumps(_document(event))


def _document(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "entity_type": ENTITY_TYPE,
        "entity_id": event.entity_id,
        "op": "delete" if event.deleted else "update",
        "source": event.source,
        "version": event.version,
        "occurred_at": event.occurred_at,
        "fields": event.fields,
    }
