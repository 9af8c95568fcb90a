"""The batched lane: a stock Faust app whose agents get a partition's whole fetch as one message.

Faust spends its time on one future, one event, one acknowledgement and one send per message; the work
itself is a few per cent. So for the topics of the lane

- the scheduler yields what was fetched of a partition as one item instead of record by record,
- the consumer wraps that list in one message, whose offset is the one of the list's last record,
- and the schema passes the list through, so that `event.value` is a list of aiokafka ConsumerRecords.

Rebalancing, tables, recovery, web and everything else of Faust stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

import faust
from aiokafka.errors import UnknownError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from agents.log_ends import log_ends
from agents.offsets import PartitionLedger


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
        #: When the group last confirmed that we are a member of it (monotonic seconds).
        self.confirmed_at = monotonic()

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
            self.ledgers.setdefault(tp, PartitionLedger()).register(record[0].offset, message)
        return message

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
        self.confirmed_at = monotonic()
        for tp in list(self.ledgers):
            if tp not in assigned:
                del self.ledgers[tp]
        await super().on_partitions_assigned(assigned, generation_id)

    async def create_topic(self, *_: Any, **__: Any) -> None:
        """Do nothing: topics are created and verified before the worker starts (agents/topics.py)."""


class LaneConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread of the consumer; it also notes when the group last confirmed our membership."""

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        heartbeat = coordinator._do_heartbeat

        async def confirmed_heartbeat() -> bool:
            sent_at = monotonic()
            confirmed: bool = await heartbeat()
            if confirmed:
                # When it was *sent*: the broker counts the session from its arrival, never from ours.
                self.consumer.confirmed_at = sent_at
            return confirmed

        coordinator._do_heartbeat = confirmed_heartbeat

    async def _highwaters(self, partitions: Sequence[TP]) -> Mapping[TP, int]:
        # Recovery ends where these say. An end that is too low would leave out the last states.
        servers = driver.server_list(self.transport.url, self.transport.default_port)
        return await log_ends(",".join(servers), partitions)


class LaneProducer(driver.Producer):
    """Faust's producer, idempotent: aiokafka repeats a send that timed out, and the first may have arrived."""

    idempotent = True

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": self.idempotent}

    async def on_start(self) -> None:
        try:
            await super().on_start()
        except UnknownError:
            # The embedded broker cannot number a producer without transactions. Records sent twice do no
            # harm here, and a partition has one send under way at a time, so nothing is reordered.
            self.log.warning("This broker has no idempotent producers: a send that is repeated may arrive twice")
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
    """A Faust app with a batched lane. lane: full names of the topics whose agents get whole fetches."""

    def __init__(self, *args: Any, lane: Iterable[str] = (), **kwargs: Any) -> None:
        self.lane = frozenset(lane)
        super().__init__(*args, **kwargs)

    def _new_transport(self) -> LaneTransport:
        return LaneTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> LaneTransport:
        return LaneTransport(self.conf.broker_producer, self)

    def _create_directories(self) -> None:
        """Nothing of this app lives on disk, so it leaves no data directory behind."""
