"""One worker: the real resolver and the real ledger, with the shell of agents/ restated as single steps.

What agents/outbox.py does with locks is said here as a question: which send may happen now?
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agents.dead_letters import Row, dead_letter_row
from agents.deletions import deletion_headers
from agents.offsets import PartitionLedger
from streams.batch import BatchResolver
from streams.effects import BatchEffects, ViewRow
from streams.entity_codec import position_of
from streams.policy import Policy
from tests.simulation.broker import CHANGELOG, CHANGES, CONFLICTS, DEAD_LETTERS, RECORDS, Broker, Record
from tests.simulation.follower import Follower
from tests.simulation.redis_view import Connection, SimulatedRedis
from tests.simulation.rules import Conditions, Rules

BATCHES_IN_FLIGHT = 3


@dataclass(slots=True)
class Send:
    """Rows that go to Kafka as one request. first: the offset they got, None until they arrived."""

    topic: str
    rows: list[Row]
    first: int | None = None
    acknowledged: bool = False


@dataclass(slots=True)
class Offer:
    """Rows handed over to the view. connection: over which they are in it, 0 if that is not sure."""

    partition: int
    rows: list[ViewRow]
    connection: int | None = None
    records: tuple[int, int] | None = None


@dataclass(slots=True)
class Flight:
    """One batch under way, which is also its message in the ledger. offset: of its last record."""

    records: Sequence[Record]
    effects: BatchEffects
    first: list[Send]
    second: list[Send]
    offer: Offer | None
    offset: int
    acked: bool = False
    begun: set[int] = field(default_factory=set)

    def step(self, number: int) -> list[Send]:
        return (self.first, self.second)[number]

    def open(self, number: int) -> list[Send]:
        """The sends of a step that may happen now: of each topic the first that is not acknowledged."""
        heads: dict[str, Send] = {}
        for send in self.step(number):
            if not send.acknowledged:
                heads.setdefault(send.topic, send)
        return list(heads.values())

    def keys(self) -> set[bytes]:
        return {key for key, _ in self.effects.records}


class SteppingLedger(PartitionLedger):
    """A mutant that, as plain Faust does, steps over one unfinished batch at the head."""

    def settle(self) -> None:
        super().settle()
        if len(self._open) > 1 and self._open[1].acked:
            self._open.popleft()
            self.settle()


class Worker:
    """A worker's process. number: never used again. tables: states by key, by partition."""

    def __init__(
        self, number: int, broker: Broker, redis: SimulatedRedis, policy: Policy, rules: Rules, conditions: Conditions
    ) -> None:
        self.number, self.broker, self.rules, self.conditions = number, broker, rules, conditions
        self.resolver = BatchResolver(policy, CHANGES, cache_bytes=10_000)
        self.connection = Connection(redis)
        self.follower = Follower(broker, self.connection)
        self.generation = -1
        self.paused = self.draining = False
        self.tables: dict[int, dict[bytes, bytes]] = {}
        self.contained: dict[int, int] = {}
        self.positions: dict[int, int] = {}
        self.ledgers: dict[int, PartitionLedger] = {}
        self.flights: dict[int, deque[Flight]] = {}
        self.epochs: dict[int, int] = {}
        self.offers: deque[Offer] = deque()

    @property
    def is_member(self) -> bool:
        return self.broker.is_member(self.number, self.generation)

    @property
    def idle(self) -> bool:
        return not any(self.flights.values())

    # ---- the group ----

    def revoke(self) -> None:
        """All partitions are taken away, as at every rebalance; states stay until it is known whose they are."""
        for partition in self.positions:
            if self.rules.decoded_copies_are_forgotten:
                self.resolver.forget(partition)
        self.positions, self.ledgers, self.flights, self.epochs = {}, {}, {}, {}
        self.follower.revoked()
        self.draining = False

    def assign(self, generation: int, partitions: Sequence[int]) -> None:
        """Fences off former owners, recovers their states of these partitions and goes on from committed offsets."""
        self.generation = generation
        for partition in [p for p in self.tables if p not in partitions]:
            del self.tables[partition]
            self.contained.pop(partition, None)
        for partition in partitions:
            self.epochs[partition] = self.broker.claim(partition, CHANGELOG)
            self._recover(partition)
            committed = self.broker.committed.get(partition)
            self.positions[partition] = committed or 0
            ledger = PartitionLedger if self.rules.ledger_stops_at_the_unfinished else SteppingLedger
            self.ledgers[partition] = ledger(committed)
            self.flights[partition] = deque()
        self.follower.assigned(partitions)

    def _recover(self, partition: int) -> None:
        states = self.tables.setdefault(partition, {})
        log = self.broker.log(CHANGELOG, partition)
        unread = log.read(self.contained.get(partition, -1) + 1, log.end)
        for record in unread:
            assert record.key is not None and record.value is not None
            known = states.get(record.key)
            if known is None or not self.rules.recovery_by_position or position_of(record.value) >= position_of(known):
                states[record.key] = record.value
        if unread:
            self.contained[partition] = unread[-1].offset
            if self.rules.decoded_copies_are_forgotten:
                self.resolver.forget(partition)

    # ---- a batch ----

    def may_fetch(self, partition: int) -> bool:
        return not self.draining and len(self.flights[partition]) < BATCHES_IN_FLIGHT

    def take(self, partition: int, records: Sequence[Record]) -> Flight:
        """Resolves a fetched batch, stores its states in memory and makes ready what it sends."""
        effects = self.resolver.resolve_batch(partition, records, self.tables[partition])
        self.tables[partition].update(effects.states)
        if not self.rules.replayed_sends_its_record:
            moved = {key for key, _ in effects.states}
            effects.records = [(key, body) for key, body in effects.records if key in moved]
            effects.view = [row for row in effects.view if row.key in moved]
        first, second = sends_of(partition, records, effects)
        if not self.rules.conflicts_before_states:
            first, second = second, first
        offer = Offer(partition, effects.view) if effects.view else None
        flight = Flight(records, effects, first, second, offer, records[-1].offset)
        self.ledgers[partition].register(records[0].offset, flight)
        self.positions[partition] = flight.offset + 1
        self.flights[partition].append(flight)
        if offer is not None:
            self.offers.append(offer)
        if not self.rules.commit_waits_for_acknowledgements:
            flight.acked = True
        return flight

    def sendable(self, partition: int) -> Iterator[tuple[Flight, int, Send]]:
        """What the outbox would send now: (flight, step, send)."""
        earlier: list[Flight] = []
        for flight in self.flights[partition]:
            for number in (0, 1):
                if number == 1 and flight.open(0):
                    break
                if self._may_step(flight, number, earlier):
                    for send in flight.open(number):
                        yield flight, number, send
            earlier.append(flight)

    def _may_step(self, flight: Flight, number: int, earlier: list[Flight]) -> bool:
        waiting = [other for other in earlier if other.open(0) or (number == 1 and other.open(1))]
        if waiting and not (number == 1 and self._may_overtake(flight, waiting)):
            return False
        if self.is_member or not self.rules.members_only:
            return True
        return number in flight.begun

    def _may_overtake(self, flight: Flight, waiting: list[Flight]) -> bool:
        if not self.rules.batches_in_order:
            return True
        return self.conditions.disjoint_overtake and all(flight.keys().isdisjoint(w.keys()) for w in waiting)

    def acknowledged(self, partition: int) -> list[Flight]:
        """Takes note of the flights that Kafka has in full now, and returns them."""
        overtaking = self.conditions.disjoint_overtake or not self.rules.batches_in_order
        finished: list[Flight] = []
        for flight in self.flights[partition]:
            if not (flight.open(0) or flight.open(1)):
                finished.append(flight)
            elif not overtaking:
                break
        for flight in finished:
            self.flights[partition].remove(flight)
            self._written(partition, flight)
            flight.acked = True
            self.ledgers[partition].settle()
            records = [send for send in flight.first + flight.second if send.topic == RECORDS]
            if flight.offer is not None and in_a_row(records):
                assert records[0].first is not None and records[-1].first is not None
                flight.offer.records = (records[0].first, records[-1].first + len(records[-1].rows))
                self.confirm(flight.offer)
        return finished

    def _written(self, partition: int, flight: Flight) -> None:
        """EntityTable.written: our own changelog records need not be read again."""
        sends = [send for send in flight.first + flight.second if send.topic == CHANGELOG]
        if not sends or sends[0].first is None or sends[-1].first is None:
            return
        known = self.contained.get(partition, -1)
        if self.rules.contained_in_a_row and not (in_a_row(sends) and sends[0].first <= known + 1):
            return
        self.contained[partition] = max(known, sends[-1].first + len(sends[-1].rows) - 1)

    def confirm(self, offer: Offer) -> None:
        """Tells the follower, once both Redis and Kafka have the rows."""
        if offer.connection and offer.records is not None:
            self.follower.delivered(offer.partition, *offer.records, offer.connection)


def in_a_row(sends: Sequence[Send]) -> bool:
    """Whether sends of one topic got offsets that follow each other."""
    for one, following in pairwise(sends):
        if one.first is None or following.first != one.first + len(one.rows):
            return False
    return bool(sends)


def sends_of(partition: int, records: Sequence[Record], effects: BatchEffects) -> tuple[list[Send], list[Send]]:
    """Both steps of a batch (agents/resolve.py), in requests of three rows at most, so that halves can be lost."""
    removed = {row.key: row.offset for row in effects.view if row.doc is None}
    first = [
        (
            DEAD_LETTERS,
            [dead_letter_row(CHANGES, partition, records[letter.place], letter) for letter in effects.dead_letters],
        ),
        (CONFLICTS, [Row(key, body) for key, body in effects.conflicts]),
    ]
    second = [
        (CHANGELOG, [Row(key, state) for key, state in effects.states]),
        (
            RECORDS,
            [
                Row(key, body) if body is not None else Row(key, None, [*deletion_headers(partition, removed[key])])
                for key, body in effects.records
            ],
        ),
    ]
    return _cut(first), _cut(second)


def _cut(step: list[tuple[str, list[Row]]]) -> list[Send]:
    return [Send(topic, rows[at : at + 3]) for topic, rows in step for at in range(0, len(rows), 3)]
