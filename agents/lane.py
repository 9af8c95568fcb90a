"""The batched lane: a stock Faust app whose agents get a partition's whole fetch as one message.

Faust spends its time on one future, one event, one acknowledgement and one send per message; the work
itself is a few per cent. So for the topics of the lane

- the scheduler yields what was fetched of a partition as one item instead of record by record,
- the consumer wraps that list in one message, whose offset is the one of the list's last record,
- and the schema passes the list through, so that `event.value` is a list of records as aiokafka parses them.

Rebalancing, tables, recovery, web and everything else of Faust stay as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import faust
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError, UnknownError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from agents.bare_records import BareRecords
from agents.boottime import boottime
from agents.ending import EX_CONFIG, end_process
from agents.fencing import FENCE_KEY, PartitionIdentities, next_epoch, with_identities
from agents.log_ends import log_ends
from agents.offsets import PartitionLedger
from agents.ranges import TopicRecreated, start_of
from agents.settings import Settings

#: How long a fetch waits for records; a rebalance waits as long, so it is not Faust's whole second.
FETCH_SECONDS = 0.2
#: How long the broker holds back an empty answer to a fetch.
BROKER_WAIT_MS = 200
#: How often a fetcher that is held looks whether it may go on.
HELD_SECONDS = 0.01
#: Of the session; what is left must do for a send that has just begun.
MEMBERSHIP_SHARE = 0.8


class LaneScheduler(DefaultSchedulingStrategy):
    """Yields lists for the topics of the lane, and the records of any other topic one by one."""

    def __init__(self, lane: frozenset[str]) -> None:
        self.lane = lane

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        others: dict[TP, list[Any]] = {}
        for tp, fetched in records.items():
            if tp.topic not in self.lane:
                others[tp] = fetched
            elif fetched:
                yield tp, fetched
        if others:
            yield from super().iterate(others)


class LaneSchema(faust.Schema):
    """Hands the list of records on as it is: decoding is ours, because Faust acks what it cannot decode."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> None:
        return None

    def loads_value(self, app: Any, message: Message, **_: Any) -> Any:
        return message.value


class LaneConsumer(driver.Consumer):
    """The aiokafka consumer of Faust, with batches as messages and its own account of offsets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lane: frozenset[str] = self.app.lane
        self.scheduler = LaneScheduler(self.lane)
        self.ledgers: dict[TP, PartitionLedger] = {}
        self._idle = asyncio.Event()  # no fetch is under way; the fetcher has one at a time
        self._idle.set()
        self._held = False
        #: When the group last confirmed that we are a member of it (boottime seconds).
        self.confirmed_at = boottime()

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return LaneConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if type(record) is not list:
            return super()._to_message(tp, record)
        last = record[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            record,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        if self.app.topics.acks_enabled_for(tp.topic):
            self._register(tp, record[0].offset, message)
        return message

    def _register(self, tp: TP, first: int, message: ConsumerMessage) -> None:
        ledger = self.ledgers.get(tp)
        if ledger is None:
            ledger = self.ledgers[tp] = PartitionLedger(self._committed_offset[tp])
        skipped = ledger.register(first, message)
        if skipped:
            self.add_future(self._explain_gap(tp, first - skipped, first))

    async def _explain_gap(self, tp: TP, expected: int, first: int) -> None:
        """Tell what lies between two batches: a transactional producer's marks, or records that were deleted."""
        try:
            log_start = (await self._thread.earliest_offsets(driver.ensure_aiokafka_TP(tp))).popitem()[1]
        except KafkaError as error:
            self.log.error("%s[%s]: no records at offsets %s to %s: %r", *tp, expected, first - 1, error)
            return
        if log_start > expected:
            self.app.input_lost(tp, expected, min(log_start, first))

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        # Faust passes its live set of partitions. It is emptied while aiokafka waits with it, and an empty
        # one means "any partition": what came was dropped, and read on behind it. Hence a copy.
        wanted = frozenset(active_partitions or ())
        if self._held or not wanted:
            await asyncio.sleep(HELD_SECONDS)
            return {}
        self._idle.clear()
        try:
            fetched = await super()._getmany(wanted, min(timeout, FETCH_SECONDS))
            if self.app.in_recovery:
                self._pass_last_gaps(fetched, wanted)
            return fetched
        finally:
            self._idle.set()

    def _pass_last_gaps(self, fetched: dict[TP, list[Any]], wanted: frozenset[TP]) -> None:
        """Stand in for what a changelog ends with and is no record: a transactional producer's marks.

        Recovery ends with the log's last offset, and would wait for ever for one that nobody hands it.
        """
        for tp, (position, end) in self._thread.positions().items():
            if position == end and tp in wanted and not self.app.topics.acks_enabled_for(tp.topic):
                records = fetched.get(tp, [])
                last = records[-1].offset if records else self._read_offset[tp]
                if (last or 0) < end - 1:
                    gap = ConsumerRecord(*tp, end - 1, 0, 0, None, None, None, -1, -1, ())
                    fetched[tp] = [*records, gap]

    async def perform_seek(self) -> None:
        """Go back to the committed offsets, or to the start where there are none; then wait for the flow.

        After a recovery Faust seeks first and clears its queues then, while its fetcher may be running: a
        fetch in between would be lost, and read on behind it. So nothing is fetched until `resume_flow`,
        which Faust calls right after the clearing. And aiokafka leaves a partition without a committed
        offset where it is, even if Faust has dropped what it read there.
        """
        self._held = True
        await self._idle.wait()
        await super().perform_seek()
        fresh = [tp for tp in self.assignment() if tp.topic in self.lane and not self._committed_offset[tp]]
        acking = [tp for tp in fresh if self.app.topics.acks_enabled_for(tp.topic)]
        if acking:
            await self._thread.seek_to_beginning(*map(driver.ensure_aiokafka_TP, acking))
        await self._start_where_tables_end()

    async def _start_where_tables_end(self) -> None:
        """Go back where a committed offset is ahead of the table, and report what can no longer be read."""
        applied = {tp: at for tp in self.assignment() if (at := self.app.applied(tp)) is not None}
        if not applied:
            return
        log_starts = await self._thread.earliest_offsets(*map(driver.ensure_aiokafka_TP, applied))
        log_ends = await self._thread.highwaters(*applied)
        for tp, at in applied.items():
            committed = self._committed_offset[tp]
            try:
                start = start_of(committed, at, log_starts[tp], log_ends[tp])
            except TopicRecreated as error:
                end_process(EX_CONFIG, f"{tp.topic}[{tp.partition}]: {error}")
            if start.rewound:
                self.log.error(
                    "%s[%s]: committed offset %s is ahead of the table, which reflects offset %s: reading from %s",
                    *(tp.topic, tp.partition, committed, at, start.offset),
                )
            if start.lost is not None:
                self.app.input_lost(tp, *start.lost)
            if committed is not None and start.offset != committed:
                await self.seek(tp, start.offset)
                self._committed_offset[tp] = start.offset

    def resume_flow(self) -> None:
        self._held = False
        super().resume_flow()

    def ack(self, message: Message) -> bool:
        acked = super().ack(message)
        ledger = self.ledgers.get(message.tp)
        if ledger is not None:
            ledger.settle()
            # Faust's own list would only grow: nothing of the lane is ever taken from it.
            self._acked.pop(message.tp, None)
            self._acked_index.pop(message.tp, None)
        return acked

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp in list(self.ledgers):
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        ledger = self.ledgers.get(tp)
        if ledger is None:
            return super()._new_offset(tp)
        ledger.settle()
        return ledger.committable

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # Between the last records of two batches there are always offsets that Faust never saw alone.
        if tp.topic not in self.lane:
            await super()._add_gap(tp, offset_from, offset_to)

    def on_buffer_full(self, tp: TP) -> None:
        # Faust would stop fetching the partition, and sleep a whole second once none is left to fetch.
        # The lane's queue holds a few batches only, and putting into a full queue waits: that suffices.
        if tp.topic not in self.lane:
            super().on_buffer_full(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets its acknowledgements *before* it waits for unfinished work and commits, so that
        # each rebalance replays half a second. The ledgers stay until that last commit is done.
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.ledgers.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.confirmed_at = boottime()
        for tp in list(self.ledgers):
            if tp not in assigned:
                del self.ledgers[tp]
        await super().on_partitions_assigned(assigned, generation_id)

    def unfinished(self) -> dict[TP, int]:
        """Partitions of the lane with records that are not acknowledged -> a number that grows as they are.

        While a batch waits, reading alone is no progress. Where none does, the position tells what is left: a log may
        end with a transactional producer's marks, which nobody acknowledges.
        """
        found: dict[TP, int] = {}
        for tp, (position, end) in self._thread.positions().items():
            if tp.topic in self.lane and self.app.topics.acks_enabled_for(tp.topic):
                ledger = self.ledgers.get(tp)
                if ledger:
                    found[tp] = ledger.committable or 0
                elif position < end:
                    found[tp] = position
        return found

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: whether a partition gets further is the watchdog's to see (agents/watchdog.py).

        Faust's check only logs, and right after a rebalance it ends the worker: the position of a partition may not be
        known then, which it does not expect.
        """

    async def create_topic(self, *_: Any, **__: Any) -> None:
        """Do nothing: topics are created and verified before the worker starts (agents/topics.py)."""


class LaneConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread of the consumer; it also notes when the group last confirmed our membership."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for it. Brokers answer a connection's requests in their order, so whatever
        # recovery asks waits behind a fetch that waits for records: 1.5 s each time at Faust's value.
        consumer._fetch_max_wait_ms = BROKER_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        self._ensure_consumer()._fetcher._records = BareRecords(self.consumer.lane)
        coordinator = self._ensure_consumer()._coordinator
        heartbeat = coordinator._do_heartbeat

        async def confirmed_heartbeat() -> bool:
            sent_at = boottime()
            confirmed: bool = await heartbeat()
            if confirmed:
                # When it was *sent*: the broker counts the session from its arrival, never from ours.
                self.consumer.confirmed_at = sent_at
            return confirmed

        coordinator._do_heartbeat = confirmed_heartbeat

    async def on_thread_stop(self) -> None:
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # aiokafka passes on the cancellation of a fetch that was waiting to be repeated. The thread would
            # end without saying so, and the worker would wait for it for ever.
            self.log.warning("The consumer was stopped while a fetch waited for the broker")

    def positions(self) -> dict[TP, tuple[int, int]]:
        """Of each partition that is read: the next offset to read, and the end of the log as last heard."""
        subscription = None if self._consumer is None else self._consumer._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        states = {tp: subscription.assignment.state_value(tp) for tp in subscription.assignment.tps}
        return {
            TP(*tp): (state.position, state.highwater)
            for tp, state in states.items()
            if state is not None and state.has_valid_position and state.highwater is not None
        }

    async def _highwaters(self, partitions: Sequence[TP]) -> Mapping[TP, int]:
        # Recovery ends where these say. An end that is too low would leave out the last states.
        servers = driver.server_list(self.transport.url, self.transport.default_port)
        return await log_ends(",".join(servers), partitions)


class LaneProducer(driver.Producer):
    """Faust's producer, idempotent: aiokafka repeats a send that timed out, and the first may have arrived."""

    idempotent = True
    identities: PartitionIdentities

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": self.idempotent}

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        if self.idempotent:
            self.identities = with_identities(producer)
        return producer

    async def take_over(self, partition: int, changelog: str) -> int | None:
        """Fence off whoever had a partition of `changes` before; nothing of ours may be under way to it.

        Returns the offset of the mark from which on the changelog has nothing of theirs; None where the broker cannot
        fence anybody off. Raises KafkaError. No deadline here: it asks until Kafka answers.
        """
        if not self.idempotent:
            return None
        producer = self._ensure_producer()
        self.identities.claim(partition, await next_epoch(producer.client, f"{self.app.conf.id}-{partition}"))
        mark = await producer.send_and_wait(changelog, key=FENCE_KEY, partition=partition)
        return int(mark.offset)

    async def on_start(self) -> None:
        try:
            await super().on_start()
        except UnknownError:
            # The embedded broker cannot number a producer without transactions. Records sent twice do no
            # harm here, and a partition has one send under way at a time, so nothing is reordered.
            self.log.warning(
                "This broker has no idempotent producers: a send that is repeated may arrive twice,"
                " and a replaced worker is not fenced off"
            )
            if self._producer is not None:
                await self._producer.stop()
            self.idempotent = False
            await super().on_start()

    async def create_topic(self, *_: Any, **__: Any) -> None:
        """Do nothing: topics are created and verified before the worker starts (agents/topics.py)."""


class LaneTransport(driver.Transport):
    """Faust's aiokafka transport with the lane's consumer and producer."""

    Consumer = LaneConsumer
    Producer = LaneProducer


class LaneApp(faust.App):
    """A Faust app with a batched lane. lane: full names of the topics whose agents get whole fetches.

    settings: what it was built from.
    """

    settings: Settings

    def __init__(self, *args: Any, lane: Iterable[str] = (), **kwargs: Any) -> None:
        self.lane = frozenset(lane)
        super().__init__(*args, **kwargs)

    def applied(self, tp: TP) -> int | None:
        """Offset of the last record of a partition that a table reflects, -1 for none; None where no table does."""
        return None

    def still_member(self) -> bool:
        """False when the group has not confirmed our membership for most of a session.

        After SIGSTOP, or on a machine that slept, another worker owns our partitions by now, and what we
        send would lie on top of what it has sent since.
        """
        return self.session_left() > (1 - MEMBERSHIP_SHARE) * self.settings.session_seconds

    def session_left(self) -> float:
        """Seconds in which the group cannot give our partitions away, by what it last confirmed."""
        return self.settings.session_seconds - (boottime() - float(self.consumer.confirmed_at))

    def input_lost(self, tp: TP, first: int, following: int) -> None:
        """Called for records `first` to `following` - 1, which were deleted before they were read."""

    def _new_transport(self) -> LaneTransport:
        return LaneTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> LaneTransport:
        return LaneTransport(self.conf.broker_producer, self)

    def _create_directories(self) -> None:
        """Nothing of this app lives on disk, so it leaves no data directory behind."""
