"""One seed, one course of events: which things happen, and how often, follows from the seed alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tests.simulation.broker import CHANGES
from tests.simulation.inputs import POLICIES, Inputs
from tests.simulation.rules import Conditions, Rules, Violation
from tests.simulation.worker import Worker
from tests.simulation.world import COMPACTED, World

STEPS = 400
TRIES = 10
BACKLOG = 25
LAST_ACTIONS = 30
AUDIT_EVERY = 25


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed came to. counts: crashes, rebalances and the like; outcomes: of the inputs."""

    seed: int
    steps: int
    digest: str
    counts: Mapping[str, int]
    outcomes: Mapping[str, int]


class Course:
    """A world, and a seed that chooses what happens in it. say: told of every action as it happens."""

    def __init__(
        self,
        seed: int,
        rules: Rules | None = None,
        conditions: Conditions | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.world = World(
            rules,
            conditions,
            partitions=random.choice((1, 2, 3)),
            policy=random.choice(POLICIES),
            repeats=random.random() < 0.3,
        )
        self.inputs = Inputs(random, entities=random.choice((2, 5, 9)))
        self._danger = random.choice((0.0, 0.03, 0.06, 0.15))
        self._wanted_workers = random.choice((1, 2, 3, 3))
        self._say = say
        self._last: deque[str] = deque(maxlen=LAST_ACTIONS)
        actions = self._actions()
        # Each seed has its own dangers: what is common in one is rare or missing in the next.
        weights = [weight * random.choice((0.2, 1, 1, 3)) for _, weight in actions]
        self._names, self._weights = [action.__name__ for action, _ in actions], weights
        self._do = {action.__name__: action for action, _ in actions}

    def _actions(self) -> list[tuple[Callable[[], str | None], float]]:
        return [
            (self.publish, 12),
            (self.fetch, 16),
            (self.send, 40),
            (self.commit, 10),
            (self.hand_over, 12),
            (self.view, 14),
            (self.crash, 1.5),
            (self.start, 20),
            (self.pause, 3),
            (self.resume, 3),
            (self.rebalance, 1),
            (self.join, 30),
            (self.complete, 25),
            (self.give_up, 1),
            (self.stray, 2),
            (self.redis, 2),
            (self.compact, 3 if self.world.conditions.compaction else 0),
            (self.pass_time, 1),
        ]

    def run(self, steps: int = STEPS) -> Result:
        """So many actions, and then rest. Raises Violation with the seed and the last actions."""
        try:
            for step in range(steps):
                for _ in range(TRIES):
                    [name] = self.random.choices(self._names, self._weights)
                    if (what := self._do[name]()) is not None:
                        self._note(step, name, what)
                        break
                if step % AUDIT_EVERY == 0:
                    self.world.auditor.progress()
            self._note(steps, "settle", "")
            digest = self.world.settle()
        except Violation as violation:
            violation.add_note("\n".join(self._last))
            violation.add_note(f"replay it: python -m tests.simulation {self.seed} {steps}")
            raise
        return Result(self.seed, steps, digest, self.world.counts, self.world.reference.counts())

    def _note(self, step: int, name: str, what: str) -> None:
        line = f"{step:5} {name} {what}"
        self._last.append(line)
        self._say(line)

    # ---- choices ----

    def _worker(self) -> Worker | None:
        awake = [worker for worker in self.world.workers.values() if not worker.paused]
        return self.random.choice(awake) if awake else None

    def _place(self) -> tuple[Worker, int] | None:
        worker = self._worker()
        if worker is None or not worker.positions:
            return None
        return worker, self.random.choice(list(worker.positions))

    def _crashes(self) -> bool:
        """Whether the worker dies right before or right after what it does now."""
        return self.random.random() < self._danger

    def _crash(self, worker: Worker) -> str:
        self.world.crash(worker, strays=self.random.randint(0, 2))
        return f"{worker.number} crashes"

    # ---- actions: each returns what it did, None for nothing ----

    def publish(self) -> str | None:
        broker = self.world.broker
        unread = sum(broker.log(CHANGES, p).end - broker.committed.get(p, 0) for p in broker.partitions)
        if unread > BACKLOG:
            return None
        records = [
            self.world.publish(self.inputs.next(self.world.now_ms, self.world.reference.now))
            for _ in range(self.random.choice((1, 1, 2, 5)))
        ]
        return ", ".join(f"{record.partition}:{record.offset} {record.key!r}" for record in records)

    def fetch(self) -> str | None:
        place = self._place()
        if place is None or not self.world.fetch(*place, count=self.random.choice((1, 2, 4, 12))):
            return None
        worker, partition = place
        what = f"worker {worker.number}: {partition} up to {worker.positions[partition] - 1}"
        return f"{what}, {self._crash(worker)}" if self._crashes() else what

    def send(self) -> str | None:
        places = [(w, p) for w in self.world.workers.values() if not w.paused for p, f in w.flights.items() if f]
        if not places:
            return None
        worker, partition = self.random.choice(places)
        sendable = list(worker.sendable(partition))
        if not sendable:
            return None
        choice = self.random.randrange(len(sendable))
        _, step, send = sendable[choice]
        what = f"worker {worker.number}: {partition} step {step} {send.topic} {[row.key for row in send.rows]}"
        if self._crashes():
            return f"{what}, before it {self._crash(worker)}"
        chance = self.random.random()
        arrives, answered = chance > 0.06, chance > 0.14
        self.world.send(worker, partition, choice, arrives, answered)
        what += "" if answered else ", not answered" if arrives else ", not arrived"
        return f"{what}, after it {self._crash(worker)}" if self._crashes() else what

    def commit(self) -> str | None:
        place = self._place()
        if place is None:
            return None
        worker, partition = place
        if not self.world.commit(worker, partition):
            return None
        what = f"worker {worker.number}: {partition} at {self.world.broker.committed[partition]}"
        return f"{what}, after it {self._crash(worker)}" if self._crashes() else what

    def hand_over(self) -> str | None:
        worker = self._worker()
        if worker is None or not worker.offers:
            return None
        how = self.random.choice(("now", "now", "now", "now", "lost", "late", "twice", "missed"))
        if how == "missed":
            self.world.miss(worker)
        else:
            self.world.hand_over(worker, lost=how == "lost", late=how == "late", twice=how == "twice")
        what = f"worker {worker.number} {how}"
        return f"{what}, after it {self._crash(worker)}" if self._crashes() else what

    def view(self) -> str | None:
        place = self._place()
        if place is None:
            return None
        worker, partition = place
        coverage = worker.follower.partitions.get(partition)
        before = None if coverage is None else (coverage.saved, coverage.position, coverage.end)
        if self.random.random() < 0.5:
            self.world.keep(worker)
        else:
            self.world.follow(worker, partition, self.random.choice((1, 3, 10)))
            self.world.auditor.viewed(self.world.redis.held)
        if coverage is None or before == (coverage.saved, coverage.position, coverage.end):
            return None
        return f"worker {worker.number}: {partition} saved {coverage.saved}, at {coverage.position} of {coverage.end}"

    def crash(self) -> str | None:
        workers = list(self.world.workers.values())  # a stopped one, too
        return self._crash(self.random.choice(workers)) if workers else None

    def start(self) -> str | None:
        if len(self.world.workers) >= self._wanted_workers:
            return None
        return f"worker {self.world.start().number}"

    def pause(self) -> str | None:
        busy = [worker for worker in self.world.workers.values() if not worker.paused and not worker.idle]
        worker = self.random.choice(busy) if busy else self._worker()
        if worker is None:
            return None
        self.world.pause(worker)
        self.world.broker.rebalancing = True
        return f"worker {worker.number}"

    def resume(self) -> str | None:
        paused = [worker for worker in self.world.workers.values() if worker.paused]
        if not paused:
            return None
        self.world.resume(worker := self.random.choice(paused))
        return f"worker {worker.number}"

    def rebalance(self) -> str | None:
        self.world.broker.rebalancing = True
        return ""

    def join(self) -> str | None:
        worker = self._worker()
        return f"worker {worker.number}" if worker is not None and self.world.join(worker) else None

    def complete(self) -> str | None:
        order = sorted(self.world.broker.joined)
        late = [w for w in self.world.workers.values() if not w.paused and w.number not in order]
        if late and self.random.random() < 0.85:
            return None  # the group waits for them, up to its time-out
        self.random.shuffle(order)
        return f"{self.world.broker.members}" if self.world.complete_rebalance(order) else None

    def give_up(self) -> str | None:
        worker = self._worker()
        return f"worker {worker.number}" if worker is not None and self.world.give_up(worker) else None

    def stray(self) -> str | None:
        return "" if self.world.stray(self.random.randrange(100)) else None

    def redis(self) -> str | None:
        world, choice = self.world, self.random.choice(("save", "down", "back", "wiped", "older", "emptied"))
        if choice == "save":
            world.redis.save()
        elif choice == "down":
            world.redis_down()
        elif choice == "emptied":
            if not world.conditions.wipes_unseen:
                return None
            world.wipe_in_place()
        else:
            world.redis_back(None if choice == "back" else choice == "wiped")
        return choice

    def compact(self) -> str | None:
        topic, partition = self.random.choice(COMPACTED), self.random.choice(self.world.broker.partitions)
        self.world.compact(topic, partition, self.random.random())
        return f"{topic} {partition}"

    def pass_time(self) -> str | None:
        self.world.pass_time(milliseconds := self.random.choice((1, 400, 1500, 7000)))
        return f"{milliseconds} ms"
