"""What a change costs the engine alone, in a process of its own: `resolve_batch` over batches of 4,000 changes.

The states are there before, as after a recovery: those of a few entities that every source wrote every field of,
each under many keys. Then come changes of two fields by one source to entities drawn evenly: the costliest case for
caches, and sources are blind, the costliest for the merge.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from agents.process import freeze_recovered, tune_garbage_collection
from benchmarks.checks import Incoming
from benchmarks.job import ENTITY_TYPE, SEED, START_MS
from benchmarks.rule import CONVERGENCE_WINDOW_MS
from schemas.change import Change
from schemas.codec import encode_change
from streams.batch import BatchResolver
from streams.policy import parse_policy

TEMPLATES: Final = 100
BATCH_RECORDS: Final = 4_000
MEASURED_BATCHES: Final = 10
#: More than are held, so that as many are let go as are read.
MOST_TOUCHED: Final = 200_000
#: By each change, however many fields there are.
WRITTEN_FIELDS: Final = 2
STEP_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """So many entities, each with values of so many fields from so many sources."""

    entities: int = 10_000
    sources: int = 4
    fields: int = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured of a shape, in bytes for each entity and in us of CPU for each change.

    state: encoded, as in the changelog. stored: with its key in memory, as objects of Python. held: what an entity
    takes besides while the engine keeps it decoded, since it was touched lately. us: the median of the batches, the
    least and the most. records: golden records for each change, of which a batch has one for each entity in it.
    """

    shape: Shape
    state_bytes: float
    stored_bytes: float
    held_bytes: float
    us: float
    us_least: float
    us_most: float
    records: float


class Writers:
    """Sources that write on and on: every change is newer than all before it, by 10 ms."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.written = 0
        self._chance = random.Random(SEED)
        self._sources = [f"source-{number:02}" for number in range(shape.sources)]
        self._fields = [f"field_{number:02}" for number in range(shape.fields)]

    def history(self, number: int) -> Iterator[Incoming]:
        """Every source writes every field of an entity."""
        for first in range(0, len(self._fields), WRITTEN_FIELDS):
            for source in self._sources:
                yield self.change(number, source, self._fields[first : first + WRITTEN_FIELDS])

    def changes(self, entities: Sequence[int]) -> list[Incoming]:
        """One source writes two fields of each of these entities."""
        chance = self._chance
        return [
            self.change(number, chance.choice(self._sources), chance.sample(self._fields, WRITTEN_FIELDS))
            for number in entities
        ]

    def batches(self, count: int) -> Iterator[list[Incoming]]:
        """Changes of entities drawn evenly."""
        for _ in range(count):
            yield self.changes([self._chance.randrange(self.shape.entities) for _ in range(BATCH_RECORDS)])

    def some(self, count: int) -> list[int]:
        """Entities, each once."""
        return self._chance.sample(range(self.shape.entities), count)

    def change(self, number: int, source: str, fields: Sequence[str]) -> Incoming:
        """The next record of `changes`; it is also the next version of its source."""
        self.written += 1
        entity_id = id_of(number)
        at = START_MS + self.written * STEP_MS
        change = Change(
            event_id=f"{entity_id}@{source}@{self.written}",
            entity_type=ENTITY_TYPE,
            entity_id=entity_id,
            op="update",
            source=source,
            version=self.written,
            occurred_at=at,
            fields={name: f"{name} of {self.written % 1_000:03}" for name in fields},
        )
        return Incoming(self.written, at, key_of(number), encode_change(change))


def id_of(number: int) -> str:
    """The id of an entity; all have the same length."""
    return f"c-{number:08d}"


def key_of(number: int) -> bytes:
    """The key of an entity."""
    return f"{ENTITY_TYPE}:{id_of(number)}".encode()


def measure(shape: Shape) -> Cost:
    """The cost of a shape. Run it in a process of its own: it reads the memory of the whole process."""
    tune_garbage_collection()
    writers = Writers(shape)
    policy = {"priority": [f"source-{n:02}" for n in range(shape.sources)], "convergence_window": CONVERGENCE_WINDOW_MS}
    resolver = BatchResolver(parse_policy(policy), "changes")
    templates = folded(resolver, writers)
    states = {
        key_of(number): bytes(bytearray(templates[number % TEMPLATES]))  # a copy of its own
        for number in range(shape.entities)
    }
    freeze_recovered()
    process = psutil.Process()
    before = process.memory_info().rss
    touched = min(shape.entities, MOST_TOUCHED)
    numbers = writers.some(touched)
    for first in range(0, touched, BATCH_RECORDS):
        resolve(resolver, states, writers.changes(numbers[first : first + BATCH_RECORDS]))
    held = process.memory_info().rss - before
    costs, records = [], 0
    for batch in writers.batches(MEASURED_BATCHES):
        seconds, written = resolve(resolver, states, batch)
        costs.append(seconds / len(batch) * 1e6)
        records += written
    return Cost(
        shape,
        state_bytes=round(statistics.fmean(map(len, states.values()))),
        stored_bytes=round((sys.getsizeof(states) + objects_bytes(states)) / shape.entities),
        held_bytes=round(held / touched),
        us=round(statistics.median(costs), 1),
        us_least=round(min(costs), 1),
        us_most=round(max(costs), 1),
        records=round(records / (BATCH_RECORDS * MEASURED_BATCHES), 2),
    )


def objects_bytes(states: Mapping[bytes, bytes]) -> int:
    """Bytes of all keys and states as objects."""
    return sum(sys.getsizeof(key) + sys.getsizeof(state) for key, state in states.items())


def folded(resolver: BatchResolver, writers: Writers) -> list[bytes]:
    """States of the templates."""
    states: dict[bytes, bytes] = {}
    for number in range(TEMPLATES):
        resolve(resolver, states, list(writers.history(number)))
    resolver.forget(0)
    return list(states.values())


def resolve(resolver: BatchResolver, states: dict[bytes, bytes], batch: Sequence[Incoming]) -> tuple[float, int]:
    """CPU seconds that a batch took, and the number of golden records it gave."""
    begun = time.process_time()
    effects = resolver.resolve_batch(0, batch, states)
    states.update(effects.states)
    seconds = time.process_time() - begun
    assert not effects.dead_letters, f"a change was refused: {effects.dead_letters[0]}"
    return seconds, len(effects.records)
