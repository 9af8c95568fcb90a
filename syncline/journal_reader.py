"""Which store of the change log to ask, and the change log made of the topics where no store can be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from agents.journal.loading import SUBJECT, Declared, JournalError, Plan, load_plan, make_store
from agents.journal.memory import MemoryStore
from agents.journal.store import Batch, Place, Store, StoreUnavailable
from agents.journal.transcribe import transcriptions
from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.settings import Settings
from streams.journal import tally
from streams.policy import Policy
from syncline.places import newest_values
from syncline.terminal import address, say
from syncline.topic_reader import partitions_of, read_topic

#: What a command that reads the topics may take of memory.
READ_BYTES = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the workers were told. store: where they write. before: the one before it. until: how far that was."""

    store: Declared
    before: Declared | None
    until: dict[Place, int]

    def as_told(self) -> dict[str, Any]:
        """What the workers are told."""
        return {
            "store": self.store.name,
            "before": None if self.before is None else self.before.name,
            "until": [[topic, partition, end] for (topic, partition), end in sorted(self.until.items())],
        }

    def missing(self, positions: Mapping[Place, int]) -> int:
        """How many offsets a store lacks of what there was when it was switched to."""
        return sum(max(0, end - positions.get(place, 0)) for place, end in self.until.items())


def need_plan(settings: Settings) -> Plan:
    """The declared stores. Raises JournalError where there is none."""
    plan = load_plan(settings)
    if plan is None:
        raise JournalError(
            "no change log is configured; set SYNCLINE_CHANGELOG=redis://… or postgresql://…,"
            " or declare stores in section journal of syncline.yaml"
        )
    return plan


async def chosen(settings: Settings, plan: Plan) -> Chosen:
    """Where the change log is written now. Raises JournalError, KafkaError."""
    control = TopicNames.with_prefix(settings.topic_prefix).control
    value = (await newest_values(settings.kafka, control, SUBJECT.encode())).get(SUBJECT.encode())
    told = None if value is None else orjson.loads(value)
    if not isinstance(told, dict):
        return Chosen(plan.named(plan.first), None, {})
    before = plan.stores.get(str(told.get("before")))
    until = {(topic, partition): end for topic, partition, end in told.get("until", ())}
    return Chosen(plan.named(str(told["store"])), before, until)


async def ends(settings: Settings) -> dict[Place, int]:
    """Where the topics end that the change log follows."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    partitions = [tp for topic in (names.changes, names.conflicts) for tp in await partitions_of(settings.kafka, topic)]
    if not partitions:
        return {}
    return {(tp.topic, tp.partition): end for tp, end in (await log_ends(settings.kafka, partitions)).items()}


@asynccontextmanager
async def opened(declared: Declared) -> AsyncIterator[Store]:
    """A store, open. Raises StoreUnavailable with the name of the store in it."""
    store = make_store(declared)
    try:
        await store.open()
        yield store
    except StoreUnavailable as error:
        raise StoreUnavailable(f"store {declared.name} ({described(declared)}): {error}") from None
    finally:
        await store.close()


@asynccontextmanager
async def reading(settings: Settings, policy: Policy, key: bytes | None = None) -> AsyncIterator[Store]:
    """The store that has all rows, or the topics where that is in the memory of workers; says which on stderr.

    key: the only entity that is asked for.
    """
    plan = load_plan(settings)
    now = None if plan is None else await chosen(settings, plan)
    if now is None:
        say("syncline: no change log is configured (SYNCLINE_CHANGELOG); reading the topics, which takes longer")
    elif now.store.kind == "memory":
        say(f"syncline: store {now.store.name} is in the memory of workers; reading the topics, which takes longer")
    else:
        full = await _fuller(now)
        if full is not None:
            async with opened(full) as store:
                yield store
            return
    yield await of_topics(settings, policy, key)


async def _fuller(now: Chosen) -> Declared | None:
    """The store that lacks nothing of before the switch, or less than the other; None: that is in memory."""
    missing = await _missing(now, now.store)
    if not missing or now.before is None:
        return now.store
    filling = f"syncline: store {now.store.name} still lacks {missing} records from before its switch; reading"
    if now.before.kind == "memory":
        say(f"{filling} the topics")
        return None
    if await _missing(now, now.before) >= missing:
        say(f"{filling} it all the same, for store {now.before.name} lacks more")
        return now.store
    say(f"{filling} store {now.before.name}")
    return now.before


async def _missing(now: Chosen, declared: Declared) -> int:
    async with opened(declared) as store:
        return now.missing(await store.positions())


async def of_topics(settings: Settings, policy: Policy, key: bytes | None = None) -> Store:
    """A change log made of the topics as they are now. key: of this entity alone."""
    store = MemoryStore(READ_BYTES, backlog=None)
    names = TopicNames.with_prefix(settings.topic_prefix)
    for topic, transcribe in transcriptions(names, lambda: policy, settings.masking_key).items():
        async with aclosing(read_topic(settings.kafka, topic, key)) as batches:
            async for partition, records in batches:
                rows = [transcribe(partition, record) for record in records]
                after = (await store.positions()).get((topic, partition))
                await store.write(Batch((topic, partition), after, rows[-1].offset + 1, rows, tally(rows)))
    return store


def described(declared: Declared) -> str:
    """Where a store is, without its password."""
    return "memory" if declared.kind == "memory" else f"{declared.kind} at {address(declared.url)}"
