"""Delivers what is pending to one target: one call at a time, so that every entity's states arrive in their order.

What is pending, and what of it goes now, is decided in `streams`; here are time, Kafka, the target and its troubles.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, time
from typing import Any, Final

import stamina
from aiokafka.errors import KafkaError
from mode import Service

from agents.delivery.letters import as_value, letter_key, letter_of
from agents.delivery.metrics import DeliveryMetrics
from agents.delivery.notes import Notebook, Noted, note
from agents.names import TopicNames
from agents.targets.target import Receipt, Target, TargetUnavailable, TargetUnusable
from schemas.codec import decode_record
from schemas.delivery_document import DeliveryDocument
from schemas.record import Position
from schemas.target_orders import TargetOrders
from streams.backlog import Backlog
from streams.breaker import Breaker
from streams.delivery import Delivery
from streams.pending import Pending
from streams.sync_modes import Plan
from streams.target_mapping import TargetMapping

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
#: A partition of which nothing has come for so long, and whose end is read, has the time of the clock.
IDLE_SECONDS: Final = 0.5
READ_RECORDS: Final = 100
#: Attempts of one call before the breaker counts a failure; a longer Retry-After is the breaker's to keep.
QUICK_ATTEMPTS: Final = 3
QUICK_SECONDS: Final = 2.0
OPEN_SECONDS: Final = 30.0
#: Of one call with all that belongs to it; the next one is smaller.
CALL_SECONDS: Final = 300.0
TROUBLE_SECONDS: Final = 1.0


class Courier(Service):
    """The deliveries of one target in one process.

    mapping, said, plan: what syncline.yaml says of it. read_to_end: whether all that a partition of `records` has was
    handed over. orders_known: set once topic `control` is read. All methods return or wait, and raise nothing: a target
    or Kafka being away is logged, tried again and told by `trouble`.
    """

    def __init__(
        self,
        *,
        mapping: TargetMapping,
        said: DeliveryDocument,
        plan: Plan,
        target: Target,
        notebook: Notebook,
        names: TopicNames,
        metrics: DeliveryMetrics,
        read_to_end: Callable[[int], bool],
        orders_known: asyncio.Event,
        still_member: Callable[[], bool],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backlogs: dict[int, Backlog] = {}
        self.orders = TargetOrders()
        self.trouble: str | None = None
        self.delivered: Counter[int] = Counter()
        self.names = names
        self.name = mapping.target
        self._mapping, self._said, self._plan = mapping, said, plan
        self._target, self._notebook, self._metrics = target, notebook, metrics
        self._read_to_end, self._orders_known, self._still_member = read_to_end, orders_known, still_member
        self.breaker = Breaker(said.batch_entities, said.max_backoff)
        self._opened = False
        self._letting_go = False
        self.generation_id: int | None = None
        self._busy = asyncio.Lock()
        #: Of the call that is under way.
        self._deadline: asyncio.Timeout | None = None
        self._event = asyncio.Event()
        self._taking = False
        self._arrived: dict[int, float] = {}
        self._turns: deque[int] = deque()
        self._counted: dict[int, Counter[str]] = {}

    # ---- partitions ----

    def assigned(self, noted: dict[int, Noted], generation_id: int) -> None:
        """Begin with these partitions. generation_id: of the consumer group."""
        self.generation_id = generation_id
        for partition, known in noted.items():
            backlog = Backlog(self._plan, known.committed, known.acknowledged, known.end)
            self._order(partition, backlog)
            self.backlogs[partition] = backlog
            self._counted[partition] = Counter()
        self._letting_go = False
        self._turns = deque(sorted(self.backlogs))
        self.changed()

    async def let_go(self, seconds: float) -> None:
        """Begin no more calls, wait for the one that is under way, and break it off if it lasts longer than this."""
        self._letting_go = True
        self.changed()
        if await self._is_idle_within(seconds):
            return
        log.warning("Target %s: a call is broken off; the next owner makes it again", self.name)
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())
            await self._is_idle_within(TROUBLE_SECONDS)

    async def _is_idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                async with self._busy:
                    return True
        except TimeoutError:
            return False

    def dropped(self) -> None:
        """The partitions are somebody else's, or come again."""
        self._count()
        self.backlogs.clear()
        self._arrived.clear()
        self.changed()

    def committable(self, partition: int) -> int | None:
        """The offset of `records` that may be committed."""
        backlog = self.backlogs.get(partition)
        return None if backlog is None else backlog.committable

    # ---- what is told ----

    def replan(self, plan: Plan) -> None:
        """Other modes from now on."""
        self._plan = plan
        for backlog in self.backlogs.values():
            backlog.replan(plan)
        self.changed()

    def obey(self, orders: TargetOrders) -> None:
        """Other orders from now on; their mode is `replan`'s."""
        self.orders = orders
        self._metrics.paused.set(orders.paused)
        for partition, backlog in self.backlogs.items():
            self._order(partition, backlog)
        self.changed()

    def _order(self, partition: int, backlog: Backlog) -> None:
        backlog.clear(self.orders.cleared.get(partition, -1))
        backlog.release(self.orders.released.get(partition, -1))

    # ---- records ----

    async def backlog(self, partition: int, generation_id: int) -> Backlog | None:
        """The backlog of a partition, once it is there; None where what was fetched is of another generation.

        It comes again then, from the offset that was committed.
        """
        while partition not in self.backlogs:
            if self.generation_id is not None and generation_id < self.generation_id:
                return None
            await self.until_changed(TICK_SECONDS)
        return self.backlogs[partition] if generation_id == self.generation_id else None

    async def take(self, partition: int, records: Sequence[Any], generation_id: int) -> None:
        """Read records of a partition; waits while too much is held, and ends when the partition is let go."""
        self._taking = True
        try:
            backlog = await self.backlog(partition, generation_id)
            if backlog is not None:
                await self._read(partition, backlog, records)
        finally:
            self._taking = False

    async def _read(self, partition: int, backlog: Backlog, records: Sequence[Any]) -> None:
        for start in range(0, len(records), READ_RECORDS):
            while self._is_full() and self.backlogs.get(partition) is backlog:
                await self.until_changed(TICK_SECONDS)
            if self.backlogs.get(partition) is not backlog:
                return
            for record in records[start : start + READ_RECORDS]:
                backlog.read(
                    record.offset, record.timestamp, len(record.value or b""), self.delivery(partition, record)
                )
            self._arrived[partition] = monotonic()
            self.changed()
            await asyncio.sleep(0)

    def _is_full(self) -> bool:
        """Whether as much is held as may be; what waits for the end of a window goes early then."""
        if sum(backlog.size for backlog in self.backlogs.values()) < self._said.pending_bytes:
            return False
        if not any(backlog.due for backlog in self.backlogs.values()):
            for backlog in self.backlogs.values():
                backlog.release_all()
        return True

    def delivery(self, partition: int, record: Any) -> Delivery | None:
        """What the target is to know of a record; None: nothing."""
        try:
            return delivery_of(self._mapping, self.names.records, partition, record)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._metrics.unreadable.inc()
            log.error(
                "%s:%d offset %d cannot be read, target %s lacks it: %s",
                *(self.names.records, partition, record.offset, self.name, type(error).__name__),
            )
            return None

    # ---- calls ----

    @Service.task
    async def _deliver(self) -> None:
        while not self.should_stop:
            try:
                async with self._busy:
                    seconds = await self._turn()
            except Exception as error:  # whatever it is, nothing was settled
                self._note(told(error))
                seconds = TROUBLE_SECONDS
            if seconds:
                await self.until_changed(seconds)
            else:
                await asyncio.sleep(0)

    async def _turn(self) -> float:
        """Make a call if there is anything to do; returns how long nothing is to be done unless something changes."""
        now_ms = int(time() * 1000)
        self._pass_time(now_ms)
        self._count()
        if self._letting_go or not self._orders_known.is_set() or not self._still_member():
            return TICK_SECONDS
        await self._skip()
        self._metrics.breaker_open.set(self.breaker.state(now_ms) == "open")
        if self.orders.paused:
            return TICK_SECONDS
        pause_ms = self.breaker.pause_ms(now_ms)
        if pause_ms:
            return min(pause_ms / 1000, TICK_SECONDS)
        parts = self._next_parts()
        if not parts:
            trouble = self._strategy_trouble()
            if trouble is not None:
                self._note(trouble)
            return TICK_SECONDS
        await self._call(parts)
        return 0

    def _pass_time(self, now_ms: int) -> None:
        if self._taking:
            return
        idle_since = monotonic() - IDLE_SECONDS
        for partition, backlog in self.backlogs.items():
            if self._arrived.get(partition, 0.0) <= idle_since and self._read_to_end(partition):
                backlog.decide(now_ms)

    def _next_parts(self) -> list[tuple[int, list[Pending]]]:
        """What goes with the next call, by partition; another partition comes first each time."""
        left, left_bytes = self.breaker.batch, self._said.batch_bytes
        parts = []
        for partition in self._turns:
            items = self.backlogs[partition].take(left, left_bytes)
            if items:
                parts.append((partition, items))
                left -= len(items)
                left_bytes -= sum(item.size for item in items)
            if left <= 0 or left_bytes <= 0:
                break
        self._turns.rotate(-1)
        return parts

    async def _call(self, parts: list[tuple[int, list[Pending]]]) -> None:
        backlogs = {partition: self.backlogs[partition] for partition, _ in parts}
        batch = [backlogs[partition].to_deliver(item) for partition, items in parts for item in items]
        started = monotonic()
        try:
            receipt = await self._attempt(batch)
        except BaseException as error:
            for partition, items in parts:
                backlogs[partition].failed(items)
            if not isinstance(error, Exception):
                raise
            await self._failed(error, parts, backlogs)
            return
        self.breaker = self.breaker.succeeded()
        self._metrics.calls.labels("ok").inc()
        self._metrics.call_seconds.observe(monotonic() - started)
        self._metrics.sent_bytes.inc(receipt.sent_bytes)
        place = 0
        for partition, items in parts:
            refused = [
                (item, receipt.refused[place + at]) for at, item in enumerate(items) if place + at in receipt.refused
            ]
            place += len(items)
            await self._settle(partition, backlogs[partition], items, refused)
        self._note(self._strategy_trouble())

    async def _attempt(self, batch: Sequence[Delivery]) -> Receipt:
        """A call, again at once where it fails for a moment. Raises TargetUnavailable, TargetUnusable, TimeoutError,
        and what a target of somebody else raises."""
        if not self._opened:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._target.open()
            self._opened = True
        try:
            async with asyncio.timeout(CALL_SECONDS) as self._deadline:
                async for attempt in stamina.retry_context(
                    on=worth_another,
                    attempts=QUICK_ATTEMPTS,
                    wait_initial=0.05,
                    wait_max=QUICK_SECONDS,
                    wait_jitter=0.05,
                ):
                    with attempt:
                        return checked(await self._target.deliver(batch), len(batch))
            raise AssertionError("unreachable: the last attempt returns or raises")
        finally:
            self._deadline = None

    async def _failed(
        self, error: Exception, parts: list[tuple[int, list[Pending]]], backlogs: dict[int, Backlog]
    ) -> None:
        self._opened = False  # a target is opened once more after trouble
        wait_seconds = getattr(error, "retry_after_seconds", None)
        retry_after_ms = None if wait_seconds is None else int(wait_seconds * 1000)
        self.breaker = self.breaker.failed(int(time() * 1000), random.random(), retry_after_ms)
        self._metrics.calls.labels("failed").inc()
        self._note(told(error))
        items = [item for _, part in parts for item in part]
        if len(items) == 1 and items[0].failures >= self._said.attempts:
            partition, backlog = parts[0][0], backlogs[parts[0][0]]
            if backlog.withdraw(items[0].key, items[0].offset) is not None:
                await self._settle(partition, backlog, items, [(items[0], self.trouble or "it failed")])

    async def _settle(
        self, partition: int, backlog: Backlog, items: list[Pending], refused: list[tuple[Pending, str]]
    ) -> None:
        """Write down what became of these, and be done with them. Tries for ever while Kafka is away."""
        put_away = [item for item, _ in refused]
        accepted = [item for item in items if item not in put_away]
        notes = backlog.acknowledgements(items, put_away)
        letters = [letter_of(item, reason, int(time() * 1000), item.offset + 1) for item, reason in refused]
        rows = {letter_key(self.name, letter.key): as_value(letter) for letter in letters}
        generation = self._mapping.generation
        noted = {f"{self.name}/{key}": note(one, generation) for key, one in notes.items()}
        while self.backlogs.get(partition) is backlog:
            try:
                await self._notebook.write(self.names.target_dead_letters, partition, rows)
                await self._notebook.write(self.names.deliveries, partition, noted)
                break
            except (KafkaError, OSError) as error:  # TimeoutError is one
                self._note(f"Kafka does not take what was acknowledged: {error!r}")
                await self._notebook.close()
                await asyncio.sleep(TROUBLE_SECONDS)
        else:
            return  # somebody else has the partition, and makes the call again
        for item in put_away:
            item.refused = True
        backlog.settle(items, notes)
        self.delivered[partition] += len(accepted)
        self._metrics.deliveries.labels("accepted").inc(len(accepted))
        self._metrics.deliveries.labels("refused").inc(len(refused))
        self.changed()

    async def _skip(self) -> None:
        for key, until in self.orders.skipped.items():
            for partition, backlog in list(self.backlogs.items()):
                item = backlog.withdraw(key, until)
                if item is not None:
                    await self._settle(partition, backlog, [item], [(item, "skipped")])

    # ---- what others see ----

    def changed(self) -> None:
        """Wake whoever waits for a change."""
        self._event.set()
        self._event = asyncio.Event()

    async def until_changed(self, seconds: float) -> None:
        """Wait for a change, but no longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass

    def oldest_ms(self) -> int | None:
        """Recorded time of the oldest change that is pending."""
        ages = (backlog.oldest_ms for backlog in self.backlogs.values())
        return min((age for age in ages if age is not None), default=None)

    def _count(self) -> None:
        for partition, backlog in self.backlogs.items():
            for name, number in (backlog.counts - self._counted[partition]).items():
                self._metrics.deliveries.labels(name).inc(number)
            self._counted[partition] = Counter(backlog.counts)

    def _strategy_trouble(self) -> str | None:
        return next((backlog.trouble for backlog in self.backlogs.values() if backlog.trouble is not None), None)

    def _note(self, trouble: str | None) -> None:
        if trouble is None and self.trouble is not None:
            log.info("Target %s takes deliveries again", self.name)
        elif trouble is not None and self.trouble is None:
            log.warning("Target %s lacks deliveries: %s", self.name, trouble)
        self.trouble = trouble

    async def on_stop(self) -> None:
        for close in (self._target.close, self._notebook.close):
            try:
                async with asyncio.timeout(TROUBLE_SECONDS):
                    await close()
            except Exception as error:
                log.info("Target %s: not closed in order: %r", self.name, error)


def delivery_of(mapping: TargetMapping, topic: str, partition: int, record: Any) -> Delivery | None:
    """What a target is to know of one record of `records`. Raises ValueError, LookupError, TypeError for no record."""
    if record.key is None:
        raise ValueError("a record without key; the key is the entity's")
    golden = None if record.value is None else decode_record(record.value)
    return mapping.delivery(
        record.key.decode(), golden, Position(topic=topic, partition=partition, offset=record.offset)
    )


def checked(receipt: Receipt, count: int) -> Receipt:
    """The receipt of so many deliveries. Raises ValueError: a target of somebody else gave none that can be one."""
    for place, reason in receipt.refused.items():
        if place not in range(count) or not isinstance(reason, str):
            raise ValueError(f"refused {place!r}: a receipt names places below {count}, each with a reason in words")
    return receipt


def told(error: Exception) -> str:
    """What people are told of trouble. Texts that are not ours may quote values, so only their kind is told."""
    if isinstance(error, TargetUnavailable):
        return error.reason
    return str(error) if isinstance(error, TargetUnusable) else type(error).__name__


def worth_another(error: Exception) -> bool | float:
    """Whether a call is tried again at once: True, or the seconds that the target asks for."""
    if not isinstance(error, TargetUnavailable):
        return False
    wait_seconds = error.retry_after_seconds
    return True if wait_seconds is None else wait_seconds if wait_seconds <= QUICK_SECONDS else False


def all_settled(items: Iterable[Pending]) -> bool:
    """Whether each of these is delivered, refused or superseded."""
    return all(item.settled for item in items)
