"""Another policy while workers run: each partition is judged anew, entity by entity, between its batches.

Which policy is in force is said by topic `control`, subject `policy`, and where nothing is said there by the worker's
own file. A partition enters a policy in one step: in the order of its outbox first comes the changelog's note that
entities may be decided by it from here on (streams/reresolution.py), and then whatever it decides, changes and states
alike. The note that it alone has decided comes when the last entity was sent. A state is read when its place in the
outbox has come, so its record is newer than all before it and older than all after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic, thread_time
from typing import Any, Final, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from agents.control import Control, tell_all
from agents.dead_letters import Row
from agents.ending import EX_SOFTWARE, end_process
from agents.ranges import POLICY_KEY
from agents.resolve import Kernel, Work
from agents.web import Check
from streams.effects import BatchEffects
from streams.policy import EntityPolicy, Policy, PolicyError
from streams.reresolution import Deciders, read_deciders

log = logging.getLogger(__name__)

#: Subjects of topic `control`: the policy in force, and how far a partition is.
SUBJECT: Final = "policy"
PROGRESS_PREFIX: Final = "policy-progress:"

#: A step keeps changes waiting for so much CPU time, or for one entity if that takes more.
STEP_SECONDS: Final = 0.008
STEP_ENTITIES: Final = 256
LOOK_SECONDS: Final = 0.2
TELL_SECONDS: Final = 1.0
LOG_SECONDS: Final = 5.0


class PolicyKernel(Kernel, Protocol):
    """What decides under one policy (streams/batch.py)."""

    @property
    def policy(self) -> Policy: ...

    def reresolve(
        self, partition: int, key: bytes, stored: bytes, former: Sequence[EntityPolicy] | None
    ) -> BatchEffects: ...


@dataclass(slots=True)
class Standing:
    """Where a partition is on its way to the policy of its kernel.

    deciders: what may have decided by now. entities: how many there were when it began. seen: how many of them were
    looked at. done: only the kernel's policy has decided, and Kafka knows it.
    """

    kernel: PolicyKernel
    deciders: Deciders
    chunks: Iterator[list[bytes]]
    entities: int = 0
    seen: int = 0
    waiting: list[bytes] = field(default_factory=list)
    former: dict[str, list[EntityPolicy] | None] = field(default_factory=dict)
    sent: bool = False
    done: bool = False

    def former_of(self, key: bytes) -> list[EntityPolicy] | None:
        """The rules that may have decided an entity otherwise; None: nobody knows."""
        entity_type = key.decode().partition(":")[0]
        if entity_type not in self.former:
            self.former[entity_type] = self.deciders.of(entity_type, self.kernel.policy)
        return self.former[entity_type]

    def told(self) -> dict[str, Any]:
        """What others may know of it."""
        return {
            "version": self.kernel.policy.version,
            "seen": self.seen,
            "entities": self.entities,
            "done": self.done,
        }


class Reresolver(Service):
    """Has the policy in force decide in all partitions of this worker.

    own: the policy of the worker's file. kernel_under: gives the kernel of a policy. adopted: is told each policy that
    comes into force. kafka, control_topic: where progress is told. read: makes a policy of its mapping.
    """

    def __init__(
        self,
        work: Work,
        control: Control,
        own: PolicyKernel,
        kernel_under: Callable[[Policy], PolicyKernel],
        adopted: Callable[[Policy], None],
        kafka: str,
        read: Callable[[object], Policy],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.newest = own
        self.trouble: str | None = None
        self._work, self._control, self._kafka = work, control, kafka
        self._read = read
        self._own, self._kernel_under, self._adopted = own.policy, kernel_under, adopted
        self._standings: dict[int, Standing] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._reported: dict[int, dict[str, Any]] = {}
        control.listen(SUBJECT, self._hear)

    # -- which policy is in force ---------------------------------------------------------------------

    @property
    def applied(self) -> bool:
        """Whether the policy in force is the one that topic `control` says, and not the file's."""
        return SUBJECT in self._control.current and self.trouble is None

    def _hear(self, subject: str, value: Any) -> None:
        if subject != SUBJECT:
            return
        try:
            policy = self._own if value is None else self._told(value["policy"])
        except (PolicyError, LookupError, TypeError) as error:
            # Whoever wrote it is of another version: to go on under the last one is better than to stop.
            self.trouble = f"topic control has a policy that this worker cannot read: {error}"
            log.error("%s; %s stays in force", self.trouble, self.newest.policy.version)
            return
        self.trouble = None
        if policy.said == self.newest.policy.said:
            return
        log.info("Policy %s comes into force, after %s", policy.version, self.newest.policy.version)
        self.newest = self._work.kernel = self._kernel_under(policy)
        self._adopted(policy)

    def _told(self, document: object) -> Policy:
        """The policy of a mapping, with what is each worker's own beside it."""
        return replace(self._read(document), conflicts_per_minute=self._own.conflicts_per_minute)

    # -- what the agents ask (agents/resolve.py: Deciding) ----------------------------------------------

    async def entered(self, partition: int) -> None:
        """Wait until what the partition sends from here on may be decided by the policy in force."""
        await self._control.read.wait()
        while self._work.table.recovered(partition) and not self._is_in(partition):
            async with self._locks.setdefault(partition, asyncio.Lock()):
                if not self._is_in(partition):
                    await self._enter(partition)

    def kernel(self, partition: int) -> PolicyKernel:
        """Who decides now. A partition that is being given away has nobody; what it sends is refused by Kafka."""
        standing = self._standings.get(partition)
        return self.newest if standing is None else standing.kernel

    def forget(self, partition: int) -> None:
        """It is no longer ours, or its states were replaced: it enters anew."""
        self._standings.pop(partition, None)

    def _is_in(self, partition: int) -> bool:
        standing = self._standings.get(partition)
        return standing is not None and standing.kernel is self.newest

    async def _enter(self, partition: int) -> None:
        work, outbox = self._work, self._work.outbox
        await outbox.room(partition)
        if not work.table.recovered(partition):
            outbox.give_back(partition)
            return
        states, kernel = work.table.partition(partition), self.newest
        before = self._standings.get(partition)
        if before is not None:
            known = before.deciders
        elif states.deciders is None and next(iter(states), None) is None:
            known = Deciders(())
        else:
            known = read_deciders(states.deciders, self._read)
        standing = Standing(kernel, known.adding(kernel.policy), states.key_chunks(STEP_ENTITIES))
        self._standings[partition] = standing
        if standing.deciders.only(kernel.policy):
            standing.sent = True
            if known.only(kernel.policy):
                standing.done = True
                outbox.give_back(partition)
            else:
                self._note(partition, standing)
            return
        standing.entities = len(states)
        self._note(partition, standing)

    # -- entity by entity -----------------------------------------------------------------------------

    @Service.task
    async def _work_through(self) -> None:
        try:
            await self._control.read.wait()
            while not self.should_stop:
                moved = False
                for partition in sorted(self._work.table.assigned):
                    if self._work.table.recovered(partition):
                        await self.entered(partition)
                        moved = await self._step(partition) or moved
                if not moved:
                    await self.sleep(LOOK_SECONDS)
        except Exception as error:
            end_process(EX_SOFTWARE, f"changing the policy failed: {error!r}")

    async def _step(self, partition: int) -> bool:
        """Send some entities anew; False where there is nothing to do."""
        standing = self._standings.get(partition)
        if standing is None or standing.sent:
            return False
        await self._work.outbox.room(partition)
        if self._standings.get(partition) is not standing:
            self._work.outbox.give_back(partition)
            return True
        effects, looked_at = self._judged(partition, standing)
        if not looked_at:
            standing.sent = True
            standing.deciders = Deciders((standing.kernel.policy,))
            self._note(partition, standing)
            return True

        async def acknowledged() -> None:
            standing.seen += looked_at
            self._work.metrics.reresolved.inc(len(effects.records))

        self._work.perform(self._source(partition), (), effects, acknowledged, hand_over=False)
        await asyncio.sleep(0)  # a place that is free does not let others go first
        return True

    def _judged(self, partition: int, standing: Standing) -> tuple[BatchEffects, int]:
        """What the next entities send, and how many they are."""
        states, kernel, effects, looked_at = self._work.table.partition(partition), standing.kernel, BatchEffects(), 0
        until = thread_time() + STEP_SECONDS
        while not looked_at or thread_time() < until:
            if not standing.waiting:
                standing.waiting = next(standing.chunks, [])[::-1]
                if not standing.waiting:
                    break
            key = standing.waiting.pop()
            looked_at += 1
            former = standing.former_of(key)
            stored = states.get(key) if former is None or former else None
            if stored is not None:
                effects.extend(kernel.reresolve(partition, key, stored, former))
        return effects, looked_at

    def _note(self, partition: int, standing: Standing) -> None:
        """Send what the changelog is to say of the policies; the place in the outbox is taken."""
        text, done = standing.deciders.text(), standing.sent

        async def acknowledged() -> None:
            self._work.table.decided_by(partition, text)
            standing.done = done
            if done:
                standing.entities = standing.seen

        row = Row(POLICY_KEY, text)
        self._work.perform(self._source(partition), (), BatchEffects(), acknowledged, [row], hand_over=False)

    def _source(self, partition: int) -> TP:
        return TP(self._work.names.changes, partition)

    # -- how far it is --------------------------------------------------------------------------------

    def remaining(self) -> int:
        """Entities that the policy in force has not looked at yet."""
        under_way = [standing for standing in self._standings.values() if not standing.done]
        return sum(max(standing.entities - standing.seen, 0) for standing in under_way)

    def check(self) -> Check:
        """For /readyz."""
        return Check("policy", self.trouble is None, False, self.line())

    def line(self) -> str:
        """Where this worker is, for people."""
        origin = "applied" if self.applied else "of the file"
        if self.applied and self._own.version != self.newest.policy.version:
            origin += f", the file has {self._own.version}"
        under_way = [standing for standing in self._standings.values() if not standing.done]
        if self.trouble is not None:
            return f"{self.newest.policy.version}: {self.trouble}"
        if not under_way:
            return f"{self.newest.policy.version} ({origin}) decides everything"
        seen, entities = (sum(getattr(one, name) for one in under_way) for name in ("seen", "entities"))
        return f"{self.newest.policy.version} ({origin}): {seen} of {entities} entities judged anew"

    @Service.task
    async def _tell(self) -> None:
        logged_at = 0.0
        while not self.should_stop:
            await self.sleep(TELL_SECONDS)
            if self.remaining() and monotonic() - logged_at > LOG_SECONDS:
                logged_at = monotonic()
                log.info("Policy %s", self.line())
            now = {number: standing.told() for number, standing in self._standings.items()}
            news = {number: told for number, told in now.items() if told != self._reported.get(number)}
            if not news:
                continue
            try:
                subjects = {f"{PROGRESS_PREFIX}{number}": told for number, told in news.items()}
                await tell_all(self._kafka, self._control.topic, subjects)
                self._reported = {**self._reported, **news}
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("Progress of the policy was not told: %r", error)
