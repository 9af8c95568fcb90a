"""The world: a broker, Redis and workers, and every single thing that may happen to them, as a method each.

Nothing here chooses: `tests.simulation.chance` does, by a seed, and directed scenarios do, by hand. A method that
cannot do anything now does nothing and returns False.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from agents.dead_letters import Row
from streams.effects import ViewRow
from streams.policy import parse_policy
from tests.simulation.auditor import Auditor
from tests.simulation.broker import CHANGELOG, CHANGES, RECORDS, Broker, Record
from tests.simulation.inputs import partition_of
from tests.simulation.redis_view import Away, SimulatedRedis
from tests.simulation.reference import Reference
from tests.simulation.rules import Conditions, Rules, Violation
from tests.simulation.worker import Offer, Send, Worker

NOW_MS = 1_700_000_000_000
SETTLING_TURNS = 20_000


class World:
    """One simulated deployment. workers: those alive, by number. strays: view writes that arrive whenever they will.

    repeats: a send that is repeated is stored twice, as on a broker without idempotent producers.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        conditions: Conditions | None = None,
        *,
        partitions: int = 2,
        policy: dict[str, Any] | None = None,
        repeats: bool = False,
    ) -> None:
        self.rules, self.conditions = rules or Rules(), conditions or Conditions()
        self.policy_document, self.policy = policy, parse_policy(policy)
        self.repeats = repeats
        self.now_ms = NOW_MS
        self.broker = Broker(partitions)
        self.redis = SimulatedRedis(self.rules.guard_compares, self.rules.progress_lies_in_redis)
        self.reference = Reference(self.policy, partitions)
        self.auditor = Auditor(
            self.policy, self.broker, self.redis, self.reference, records_by_position=not self.rules.epochs_fence
        )
        self.workers: dict[int, Worker] = {}
        self.strays: list[tuple[list[ViewRow], list[int] | None]] = []
        self.counts: Counter[str] = Counter()
        self._furthest = dict.fromkeys(self.broker.partitions, 0)
        self._numbers = 0

    # ---- input and time ----

    def publish(self, row: Row) -> Record:
        """A source's change is acknowledged by Kafka."""
        partition = partition_of(row.key or b"", len(self.broker.partitions))
        record = self.broker.log(CHANGES, partition).append(row, self.now_ms)
        self.reference.publish(record)
        self.counts["published"] += 1
        return record

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    # ---- processes and the group ----

    def start(self) -> Worker:
        """A new process asks to join the group."""
        self._numbers += 1
        worker = Worker(self._numbers, self.broker, self.redis, self.policy, self.rules, self.conditions)
        self.workers[worker.number] = worker
        self.broker.rebalancing = True
        self.broker.joined.add(worker.number)
        return worker

    def crash(self, worker: Worker, strays: int = 0) -> None:
        """The process is gone at once; some of what it had sent to Redis may still arrive."""
        waiting = [offer for offer in worker.offers if offer.connection is None]
        self.strays += [(offer.rows, None) for offer in waiting[:strays]]
        self._gone(worker)
        self.counts["crashes"] += 1

    def _gone(self, worker: Worker) -> None:
        self.workers.pop(worker.number, None)  # whoever was fenced off is gone already
        self.broker.joined.discard(worker.number)
        self.broker.rebalancing = True

    def give_up(self, worker: Worker) -> bool:
        """A worker that is no member, and has something to send, reaches its deadline and ends."""
        if worker.is_member or worker.idle or worker.paused:
            return False
        self.counts["gave up"] += 1
        self._gone(worker)
        return True

    def pause(self, worker: Worker) -> None:
        worker.paused = True

    def resume(self, worker: Worker) -> None:
        worker.paused = False

    def join(self, worker: Worker) -> bool:
        """A worker hears that the group rebalances, or that it is no member; it joins when nothing is under way."""
        if worker.paused or worker.number in self.broker.joined:
            return False
        if worker.is_member and not self.broker.rebalancing:
            return False
        worker.draining = True
        if not worker.idle:
            return False
        for partition in list(worker.ledgers):
            self.commit(worker, partition)
        worker.revoke()
        self.broker.rebalancing = True
        self.broker.joined.add(worker.number)
        return True

    def complete_rebalance(self, order: Sequence[int]) -> bool:
        """The group goes on with those who joined, in this order; whoever did not is replaced, and may not know."""
        if not self.broker.rebalancing or not order:
            return False
        self.broker.begin_generation(order)
        for number, partitions in self.broker.members.items():
            self.workers[number].assign(self.broker.generation, partitions)
        self.counts["rebalances"] += 1
        return True

    # ---- a batch ----

    def fetch(self, worker: Worker, partition: int, count: int) -> bool:
        """A worker gets the next records of a partition, resolves them and offers the rows to the view."""
        if not worker.may_fetch(partition):
            return False
        records = self.broker.log(CHANGES, partition).read(worker.positions[partition], count)
        if records:
            self.counts["delivered again"] += sum(r.offset < self._furthest[partition] for r in records)
            self._furthest[partition] = max(self._furthest[partition], records[-1].offset + 1)
            worker.take(partition, records)
            self._acknowledge(worker, partition)  # a batch of duplicates sends nothing at all
        return bool(records)

    def send(self, worker: Worker, partition: int, choice: int, arrives: bool = True, answered: bool = True) -> bool:
        """One of the sends that may happen now. arrives, answered: what becomes of the request and its answer."""
        if worker.number not in self.workers:
            return False  # it was fenced off and is gone
        sendable = list(worker.sendable(partition))
        if not sendable:
            return False
        flight, step, send = sendable[choice % len(sendable)]
        flight.begun.add(step)
        if arrives and self._refused(worker, partition, send):
            return True
        if arrives and (send.first is None or self.repeats):
            self._append(partition, send)
        if send.first is not None and answered:
            send.acknowledged = True
        self.counts["sends"] += 1
        self._acknowledge(worker, partition)
        return True

    def _refused(self, worker: Worker, partition: int, send: Send) -> bool:
        """Whether the send is of an older epoch than its partition has seen; its worker ends then."""
        log, epoch = self.broker.log(send.topic, partition), worker.epochs[partition]
        if self.rules.epochs_fence and epoch < log.epoch:
            self.counts["fenced off"] += 1
            self._gone(worker)
            return True
        log.epoch = epoch
        return False

    def _acknowledge(self, worker: Worker, partition: int) -> None:
        for finished in worker.acknowledged(partition):
            self.auditor.finished(partition, finished)

    def _append(self, partition: int, send: Send) -> None:
        log = self.broker.log(send.topic, partition)
        send.first = log.end
        for row in send.rows:
            self.auditor.arrived(log.append(row, self.now_ms))

    def commit(self, worker: Worker, partition: int) -> bool:
        """Commits what the ledger says, unless the group refuses it."""
        offset = worker.ledgers[partition].committable
        if offset is None or not self.broker.commit(worker.number, worker.generation, partition, offset):
            return False
        self.auditor.committed(partition)
        self.counts["commits"] += 1
        return True

    # ---- the view ----

    def hand_over(self, worker: Worker, *, lost: bool = False, late: bool = False, twice: bool = False) -> bool:
        """The first waiting offer goes to Redis. lost: no answer; late: it arrives only later; twice: again later."""
        if not worker.offers:
            return False
        offer = worker.offers.popleft()
        offer.connection = 0 if lost or late else self._written(worker, offer)
        if lost and self.redis.up:
            self._write(offer.rows, None)
        if late or twice:
            self.strays.append((offer.rows, None))
        if lost or late:
            worker.connection.lose()
        worker.confirm(offer)
        return True

    def miss(self, worker: Worker) -> bool:
        """There is no room for an offer."""
        if worker.offers:
            worker.offers.popleft().connection = 0
            return True
        return False

    def _written(self, worker: Worker, offer: Offer) -> int:
        try:
            worker.connection.open()
        except Away:
            return 0
        return 0 if self._write(offer.rows, None) else worker.connection.number

    def _write(self, rows: list[ViewRow], record_offsets: list[int] | None) -> int:
        unjudged = self.redis.write(rows, record_offsets)
        self.auditor.viewed(row.key for row in rows)
        return unjudged

    def stray(self, choice: int) -> bool:
        """A view write of some time ago arrives."""
        if not self.strays or not self.redis.up:
            return False
        self._write(*self.strays.pop(choice % len(self.strays)))
        return True

    def follow(self, worker: Worker, partition: int, count: int) -> None:
        worker.follower.follow(partition, count)

    def keep(self, worker: Worker) -> None:
        worker.follower.keep()

    def redis_down(self) -> None:
        self.redis.up = False

    def redis_back(self, wiped: bool | None = None) -> None:
        """Redis answers again. wiped: it restarted, with nothing or with its older copy; None: nothing happened."""
        if wiped is None:
            self.redis.up = True
            return
        self.redis.restart(wiped)
        self.auditor.redis_replaced()

    def wipe_in_place(self) -> None:
        self.redis.wipe_in_place()
        self.auditor.redis_replaced()

    def compact(self, topic: str, partition: int, share: float) -> None:
        log = self.broker.log(topic, partition)
        log.compact(int(log.end * share))

    # ---- coming to rest ----

    def settle(self) -> str:
        """Faults end, everything that can be done is done, and all promises are checked. Returns the digest."""
        self.redis.up = True
        for worker in list(self.workers.values()):
            self.resume(worker)
        if not self.workers:
            self.start()
        turns: list[Callable[[], bool]] = [self._drain, self._regroup, self._resolve, self._show]
        for _ in range(SETTLING_TURNS):
            if not any(turn() for turn in turns):
                break
        else:
            raise Violation("liveness", f"not at rest after {SETTLING_TURNS} turns")
        return self.auditor.at_rest(
            {p: w.tables[p] for w in self.workers.values() for p in self.broker.members.get(w.number, ())}
        )

    def _drain(self) -> bool:
        busy = False
        for worker in list(self.workers.values()):
            for partition in list(worker.flights):
                busy |= self.send(worker, partition, 0)
            while self.hand_over(worker):
                pass
            busy |= worker.number in self.workers and self.give_up(worker)
        while self.stray(0):
            pass
        return busy

    def _regroup(self) -> bool:
        for worker in list(self.workers.values()):
            self.join(worker)
        waiting = self.broker.rebalancing or not self.broker.members
        return waiting and (not self.workers and bool(self.start())) | self.complete_rebalance(
            sorted(self.broker.joined)
        )

    def _resolve(self) -> bool:
        busy = False
        for worker in self.workers.values():
            for partition in list(worker.positions):
                busy |= self.fetch(worker, partition, 50)
                self.commit(worker, partition)
        return busy

    def _show(self) -> bool:
        busy = False
        for worker in self.workers.values():
            self.keep(worker)
            for partition, coverage in worker.follower.partitions.items():
                self.follow(worker, partition, 50)
                busy |= not coverage.complete
            self.keep(worker)
            self.auditor.viewed(self.redis.held)
            busy |= any(c.saved != self.broker.log(RECORDS, p).end for p, c in worker.follower.partitions.items())
        return busy


COMPACTED = (CHANGELOG, RECORDS)
