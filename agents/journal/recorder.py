"""Writes the change log: follows `changes` and `conflicts` with a consumer group of its own, into one store.

Where it stands is kept by the store, beside the rows and in one step with them; the group only shares the partitions
out among workers. So a store that is away, slow, emptied or killed costs time alone: the recorder waits, asks the store
where it is, and reads on from there. A switch is no more than that: the other store says where *it* is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from agents.control import Control
from agents.journal.cleanup import Rule, clean
from agents.journal.loading import SUBJECT, Declared, JournalError, Plan, make_store
from agents.journal.store import Batch, PositionMoved, Store
from agents.journal.transcribe import Transcribe
from agents.letting_go import let_go
from agents.log_ends import log_ends
from agents.metrics import Metrics
from agents.turns import TurnTaking
from streams.journal import JournalRow, tally

log = logging.getLogger(__name__)

TURNS: Final = "records"
FETCH_SECONDS: Final = 0.2
#: The most that a store is given at once, and the least after failures.
FETCH_RECORDS: Final = 2_000
LEAST_RECORDS: Final = 10
#: Records made into rows before the event loop gets its turn: resolution runs on the same one.
ROWS_AT_ONCE: Final = 8
#: How often the store is asked whether it still is where it was.
CHECK_SECONDS: Final = 2.0
COMMIT_SECONDS: Final = 5.0
KAFKA_TIMEOUT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.1
#: Heartbeats say that we live; that the store is away is no reason to give partitions to others who have the same.
MAX_POLL_MS: Final = 24 * 3_600_000


class Recorder(TurnTaking):
    """The change log's writer in one worker. plan: the declared stores. rules: what is kept, one for each topic.

    kafka: host:port. group: its consumer group. transcribe: by topic's full name.
    """

    what = "The change log"

    def __init__(
        self,
        plan: Plan,
        control: Control,
        transcribe: Mapping[str, Transcribe],
        rules: Sequence[Rule],
        metrics: Metrics,
        *,
        kafka: str,
        group: str,
        session_seconds: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._plan, self._control, self._transcribe, self._rules = plan, control, transcribe, list(rules)
        self._metrics = metrics
        #: Who has this partition cleans up for all.
        self._leader = TopicPartition(next(iter(transcribe)), 0)
        self._kafka, self._group, self._session_seconds = kafka, group, session_seconds
        self._stores: dict[str, Store] = {}
        self._open: Declared | None = None
        self._consumer: AIOKafkaConsumer | None = None
        #: Where the store is in each partition that was placed, None: it has nothing of it.
        self._standing: dict[TopicPartition, int | None] = {}
        #: Where it reads on, and the end as far as it is known.
        self._reads: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._checked_at = self._committed_at = 0.0
        self._most_records = FETCH_RECORDS

    @property
    def store(self) -> Store | None:
        """The store that is written to, None while there is none."""
        return None if self._open is None else self._stores[self._open.name]

    @property
    def trouble(self) -> str | None:
        """What keeps it from writing."""
        return self._troubles.get(TURNS)

    def lag(self, topic: str) -> int:
        """Records of this worker's partitions of a topic that the store has not taken, as far as is known."""
        return sum(max(0, self._ends[tp] - self._reads[tp]) for tp in list(self._standing) if tp.topic == topic)

    def line(self) -> str:
        """What health has to say."""
        name = "no store" if self._open is None else f"store {self._open.name} ({self._open.kind})"
        if self.trouble is not None:
            return f"{name}: {self.trouble}"
        behind = sum(map(self.lag, self._transcribe))
        return f"{name}: {'caught up' if behind == 0 else f'{behind} records behind'}"

    @Service.task
    async def _record(self) -> None:
        try:
            while not (self._control.read.is_set() or self.should_stop):
                await self.sleep(LOOK_SECONDS)
            await self._repeat(TURNS, self._take_turn, 0.0)
        finally:
            await self._drop_consumer()
            for store in self._stores.values():
                await store.close()

    async def _take_turn(self) -> bool:
        try:
            await self._turn()
        except PositionMoved as moved:
            log.info("The change log's store has moved, reading on from where it is: %s", moved)
            self._standing.clear()
        except Exception:
            # A store that is too slow for so many at once gets fewer.
            self._most_records = max(LEAST_RECORDS, self._most_records // 2)
            self._metrics.journal_failures.inc()
            await self._leave()
            raise
        else:
            self._most_records = min(FETCH_RECORDS, self._most_records * 2)
        return True

    async def _turn(self) -> None:
        store = await self._opened()
        consumer = await self._started_consumer()
        await self._place(store, consumer)
        fetched = await consumer.getmany(timeout_ms=int(FETCH_SECONDS * 1000), max_records=self._most_records)
        for tp, records in fetched.items():
            await self._write(store, consumer, tp, records)
        for tp in self._standing.keys() - fetched.keys():
            await self._pass(store, consumer, tp)
        await self._commit(consumer)

    # ---- the store ----

    def _wanted(self) -> Declared:
        """The store that the command line has chosen, or else the one to begin with. Raises JournalError."""
        told = self._control.current.get(SUBJECT)
        name = told.get("store") if isinstance(told, dict) else None
        return self._plan.named(self._plan.first if name is None else str(name))

    async def _opened(self) -> Store:
        wanted = self._wanted()
        if self._open is not None and self._open.name != wanted.name:
            log.info("The change log is switched from store %s to %s", self._open.name, wanted.name)
            await self._leave()
        if wanted.name not in self._stores:
            self._stores[wanted.name] = make_store(wanted)
        store = self._stores[wanted.name]
        if self._open is None:
            await store.open()
            self._open = wanted
            self._metrics.journal_store.labels(wanted.name).set(1)
        return store

    async def _leave(self) -> None:
        """Let go of the store that is open; what is in it stays."""
        store, left, self._open = self.store, self._open, None
        self._standing.clear()
        if store is not None and left is not None:
            self._metrics.journal_store.labels(left.name).set(0)
            await store.close()

    # ---- Kafka ----

    async def _place(self, store: Store, consumer: AIOKafkaConsumer) -> None:
        """Have the consumer stand where the store is, in partitions that are new here or in which that has changed."""
        assigned = consumer.assignment()
        known = assigned <= self._standing.keys()
        if known and time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        held = await store.positions()
        self._checked_at = time.monotonic()
        moved = {tp: held.get((tp.topic, tp.partition)) for tp in assigned}
        moved = {tp: at for tp, at in moved.items() if tp not in self._standing or self._standing[tp] != at}
        if not moved:
            return
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            begins = await consumer.beginning_offsets(list(moved))
            ends = await consumer.end_offsets(list(moved))
        beyond = [tp for tp, at in moved.items() if at is not None and at > ends[tp]]
        if beyond:
            # The embedded broker tells ends that are too low; this way it tells the right ones, more slowly.
            ends |= await log_ends(self._kafka, beyond)
        for tp, at in moved.items():
            self._seek(consumer, tp, at, begins[tp], ends[tp], store.backlog)

    def _seek(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, at: int | None, begin: int, end: int, backlog: int | None
    ) -> None:
        if at is None:
            first = begin if backlog is None else max(begin, end - backlog)
        elif at > end:
            raise JournalError(
                f"the store is at {at} of {tp.topic}:{tp.partition}, which ends at {end}: that topic was made anew;"
                " empty the store, or switch to another one"
            )
        else:
            first = max(at, begin)
            if begin > at:
                log.error(
                    "ALARM: %s[%s]: offsets %s to %s were deleted before the change log had them", *tp, at, begin - 1
                )
        consumer.seek(tp, first)
        self._standing[tp], self._reads[tp], self._ends[tp] = at, first, end

    async def _write(
        self, store: Store, consumer: AIOKafkaConsumer, tp: TopicPartition, records: Sequence[ConsumerRecord]
    ) -> None:
        if tp not in self._standing:
            return  # a rebalance came between; it is placed first
        after = self._standing[tp]
        if records[0].offset < (after or 0):
            raise PositionMoved(f"the consumer was put back to {records[0].offset} of {tp}, the store is at {after}")
        oldest_ms = next(rule.begin_ms(wall_clock_ms()) for rule in self._rules if rule.topic == tp.topic) or 0
        rows: list[JournalRow] = []
        for number, record in enumerate(records, 1):
            rows.append(self._transcribe[tp.topic](tp.partition, record))
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        following = rows[-1].offset + 1
        kept = [row for row in rows if row.at_ms >= oldest_ms]
        await store.write(Batch((tp.topic, tp.partition), after, following, kept, tally(rows)))
        self._metrics.journal_records.labels(tp.topic).inc(len(rows))
        self._reached(consumer, tp, following)

    async def _pass(self, store: Store, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        """Take the store over offsets that have no records: marks of transactions, and what Kafka has deleted."""
        if tp not in self._standing:
            return
        after = self._standing[tp]
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            following = await consumer.position(tp)
        if tp in self._standing and following > (after or 0):
            await store.write(Batch((tp.topic, tp.partition), after, following, [], {}))
            self._reached(consumer, tp, following)

    def _reached(self, consumer: AIOKafkaConsumer, tp: TopicPartition, following: int) -> None:
        if tp in self._standing:  # else a rebalance came between
            self._standing[tp] = self._reads[tp] = following
            self._ends[tp] = max(self._ends[tp], following, consumer.highwater(tp) or 0)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Tell the group how far it is, for the eyes of those who look at groups; nothing here reads it."""
        done = {tp: at for tp, at in self._standing.items() if at is not None}
        if not done or time.monotonic() - self._committed_at < COMMIT_SECONDS:
            return
        self._committed_at = time.monotonic()
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                await consumer.commit(done)

    async def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka,
                group_id=self._group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                request_timeout_ms=int(KAFKA_TIMEOUT_SECONDS * 1000 + self._session_seconds * 1000),
                session_timeout_ms=int(self._session_seconds * 1000),
                heartbeat_interval_ms=int(self._session_seconds * 200),
                max_poll_interval_ms=MAX_POLL_MS,
            )
            consumer.subscribe(list(self._transcribe), listener=Rebalance(self._standing))
            try:
                async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                    await consumer.start()
            except BaseException:
                await let_go(consumer.stop(), KAFKA_TIMEOUT_SECONDS)
                raise
            self._consumer = consumer
        return self._consumer

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await let_go(consumer.stop(), KAFKA_TIMEOUT_SECONDS)

    # ---- cleanup ----

    @Service.task
    async def _clean_up(self) -> None:
        while not self.should_stop:
            await self.sleep(self._plan.said.clean_every / 1000)
            store = self.store
            if store is None or self.trouble is not None or self._leader not in self._standing:
                continue
            try:
                gone = await clean(store, self._rules, wall_clock_ms(), lambda: not self.should_stop)
                self._metrics.journal_expired.inc(gone)
            except Exception as error:  # the next time may go better, and writing says what is wrong
                log.info("The change log was not cleaned up: %s", error)


class Rebalance(ConsumerRebalanceListener):
    """Forgets where the consumer stands: it may have been put elsewhere."""

    def __init__(self, standing: dict[TopicPartition, int | None]) -> None:
        self._standing = standing

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._standing.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._standing.clear()


def wall_clock_ms() -> int:
    """Now, in ms since the epoch."""
    return time.time_ns() // 1_000_000
