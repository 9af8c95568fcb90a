"""Delivers all records again, beside what is new: of each entity the newest state, unless something newer went.

How far it is stands in `deliveries`, so that a backfill goes on after a restart.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from agents.delivery.courier import Courier, all_settled
from agents.delivery.notes import Notebook, Noted
from agents.reading import connected, read_between
from schemas.target_orders import Backfill
from streams.backlog import Backlog
from streams.pending import Pending

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
CHUNK_RECORDS: Final = 1_000
SUBJECT: Final = "backfill"


class Backfiller(Service):
    """Carries out the backfill that the courier's orders ask for, a partition at a time."""

    def __init__(self, courier: Courier, notebook: Notebook, kafka: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._courier, self._notebook, self._kafka = courier, notebook, kafka
        #: Partition -> what `deliveries` says of its backfill: backfill_id, next, until, sent, done.
        self.progress: dict[int, dict[str, Any]] = {}

    def assigned(self, noted: dict[int, Noted]) -> None:
        """These partitions are this worker's; what is noted of them says how far they are."""
        self.progress = {partition: known.subjects.get(SUBJECT) or {} for partition, known in noted.items()}

    @Service.task
    async def _work(self) -> None:
        while not self.should_stop:
            try:
                await self._turn()
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("Backfill of target %s is tried again: %r", self._courier.name, error)
            await self.sleep(LOOK_SECONDS)

    async def _turn(self) -> None:
        wanted = self._courier.orders.backfill
        if wanted is None or wanted.paused:
            return
        for partition, backlog in list(self._courier.backlogs.items()):
            known = self.progress.get(partition, {})
            if known.get("backfill_id") == wanted.backfill_id and known["done"]:
                continue
            if wanted.until.get(partition, 0) > 0:
                await self._fill(partition, backlog, wanted)

    def _is_wanted(self, partition: int, backlog: Backlog, wanted: Backfill) -> bool:
        return self._courier.backlogs.get(partition) is backlog and self._courier.orders.backfill == wanted

    async def _fill(self, partition: int, backlog: Backlog, wanted: Backfill) -> None:
        """Deliver a partition's records, from where it was left."""
        known = self.progress.get(partition, {})
        if known.get("backfill_id") != wanted.backfill_id:
            known = {"backfill_id": wanted.backfill_id, "next": 0, "until": 0, "sent": 0, "done": False}
        # From here on the backlog tells what is newer; what it read before is in the records that are read below.
        backlog.newest = {}
        tp, until = TopicPartition(self._courier.names.records, partition), backlog.next
        known = {**known, "until": until}
        try:
            reached = 0
            async with connected(self._kafka) as consumer:
                start = max(int(known["next"]), (await consumer.beginning_offsets([tp]))[tp])
                newest: dict[bytes, int] = {}
                async with aclosing(read_between(consumer, {tp: start}, {tp: until})) as batches:
                    async for _, records in batches:
                        newest.update((record.key, record.offset) for record in records)
                async with aclosing(read_between(consumer, {tp: start}, {tp: until})) as batches:
                    async for _, records in batches:
                        for first in range(0, len(records), CHUNK_RECORDS):
                            chunk = records[first : first + CHUNK_RECORDS]
                            if not self._is_wanted(partition, backlog, wanted):
                                return
                            known = await self._deliver(partition, backlog, known, chunk, newest)
                reached = until if start >= until else await consumer.position(tp)
            # A broker that had nothing for a while is asked again, from where it was left.
            if reached >= until and self._is_wanted(partition, backlog, wanted):
                await self._note(partition, {**known, "next": until, "done": True})
        finally:
            backlog.newest = None

    async def _deliver(
        self,
        partition: int,
        backlog: Backlog,
        known: dict[str, Any],
        records: list[ConsumerRecord],
        newest: dict[bytes, int],
    ) -> dict[str, Any]:
        """Deliver some records and note it; returns how far it is then."""
        items: list[Pending] = []
        for record in records:
            if newest.get(record.key) != record.offset:
                continue
            delivery = self._courier.delivery(partition, record)
            item = delivery and backlog.again(delivery, record.timestamp, len(record.value or b""))
            if item:
                items.append(item)
        self._courier.changed()
        while not all_settled(items):
            if self._courier.backlogs.get(partition) is not backlog:
                return known
            await self._courier.until_changed(LOOK_SECONDS)
        sent = known["sent"] + sum(not item.refused for item in items)
        known = {**known, "next": records[-1].offset + 1, "sent": sent}
        await self._note(partition, known)
        return known

    async def _note(self, partition: int, known: dict[str, Any]) -> None:
        courier = self._courier
        await self._notebook.write(courier.names.deliveries, partition, {f"{courier.name}#{SUBJECT}": known})
        self.progress[partition] = known
