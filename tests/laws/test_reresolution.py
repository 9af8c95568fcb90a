"""Another policy over states that are there: whatever came before, in the end it alone has decided."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_conflict
from schemas.conflict import Conflict
from streams.batch import BatchResolver
from streams.effects import BatchEffects
from streams.fold import Replay
from streams.policy import parse_policy
from streams.reresolution import MOST_FORMER, Deciders, read_deciders
from tests.laws.histories import KEY, histories, policies
from tests.laws.test_batch import TOPIC, log_of

ENTITY = KEY.encode()


class Worker:
    """One partition of a worker: its states, what its topics hold, and who may have decided."""

    def __init__(self, document: Any) -> None:
        self.resolver = BatchResolver(parse_policy(document), TOPIC)
        self.deciders = Deciders((self.resolver.policy,))
        self.states: dict[bytes, bytes] = {}
        self.row: tuple[Any, ...] | None = None
        self.conflicts: dict[str, Conflict] = {}

    def enter(self, document: Any) -> None:
        """Another policy decides from here on."""
        self.resolver = BatchResolver(parse_policy(document), TOPIC)
        self.deciders = read_deciders(self.deciders.adding(self.resolver.policy).text())

    def resolve(self, log: list[Any]) -> None:
        """Changes."""
        for record in log:
            self._perform(self.resolver.resolve_batch(0, [record], self.states))

    def walk(self) -> None:
        """Every state once more."""
        former = self.deciders.of("customer", self.resolver.policy)
        if ENTITY in self.states and (former is None or former):
            self._perform(self.resolver.reresolve(0, ENTITY, self.states[ENTITY], former))
        self.deciders = Deciders((self.resolver.policy,))

    def _perform(self, effects: BatchEffects) -> None:
        self.states.update(effects.states)
        for row in effects.view:
            self.row = row.parts()
        for _, body in effects.conflicts:
            conflict = decode_conflict(body)
            self.conflicts[conflict.conflict_id] = conflict


CUTS = st.lists(st.integers(0, 8), min_size=2, max_size=2)


@settings(max_examples=60)
@given(histories(), st.lists(policies(), min_size=2, max_size=3), CUTS)
def test_the_newest_policy_has_decided_all(history: list[Any], documents: list[Any], cuts: list[int]) -> None:
    """Policies change at any moment, also before the one before had judged all: the row is that of a fresh replay."""
    log, worker = log_of(history), Worker(documents[0])
    edges = [0, *sorted(cuts)[: len(documents) - 1], len(log)]
    for number, document in enumerate(documents):
        if number:
            worker.enter(document)
        worker.resolve(log[edges[number] : edges[number + 1]])
    worker.walk()
    replay = Replay(parse_policy(documents[-1]), TOPIC)
    replay.feed(0, log)
    assert worker.row == (replay.rows[ENTITY].parts() if ENTITY in replay.rows else None)


@settings(max_examples=50)
@given(histories(), policies(), policies())
def test_what_is_decided_otherwise_is_recorded(history: list[Any], before: Any, after: Any) -> None:
    """The last record of each conflict that the new policy decides otherwise is its own, and only those come anew."""
    worker = Worker(before)
    worker.resolve(log_of(history))
    if ENTITY not in worker.states:
        return
    old = standing(worker)
    worker.enter(after)
    worker.conflicts.clear()
    worker.walk()
    new = standing(worker)
    otherwise = {name for name, conflict in new.items() if name not in old or decision(old[name]) != decision(conflict)}
    alike = worker.resolver.policy.of("customer").decides_like(parse_policy(before).of("customer"))
    assert worker.conflicts.keys() == (set() if alike else otherwise)
    assert all(decision(conflict) == decision(new[name]) for name, conflict in worker.conflicts.items())


def standing(worker: Worker) -> dict[str, Conflict]:
    """All conflicts of the state by id, as the worker's policy decides them."""
    effects = worker.resolver.reresolve(0, ENTITY, worker.states[ENTITY], None)
    return {conflict.conflict_id: conflict for conflict in (decode_conflict(body) for _, body in effects.conflicts)}


def decision(conflict: Conflict) -> tuple[Any, ...]:
    """What a policy says of a conflict."""
    return conflict.kind, conflict.outcome, conflict.resolver, conflict.winner, repr(conflict.value)


@given(policies(), policies())
def test_only_other_rules_concern_an_entity(one: Any, other: Any) -> None:
    """An entity is looked at exactly if rules of its type differ, and every one where nobody knows who decided."""
    first, second = parse_policy(one), parse_policy(other)
    deciders = Deciders((first,)).adding(second)
    alike = second.of("customer").decides_like(first.of("customer"))
    assert deciders.of("customer", second) == ([] if alike else [first.of("customer")])
    assert Deciders((first,)).of("customer", first) == []
    assert Deciders(None).of("customer", first) is None


@given(st.lists(policies(), max_size=MOST_FORMER + 2))
def test_who_decided_is_known_after_a_restart(documents: list[Any]) -> None:
    """What the changelog says is read back as it was; of too many policies, or from a strange text, none is known."""
    deciders = Deciders(())
    for document in documents:
        deciders = deciders.adding(parse_policy(document))
    read = read_deciders(deciders.text())
    known = None if deciders.policies is None else [policy.version for policy in deciders.policies]
    assert (None if read.policies is None else [policy.version for policy in read.policies]) == known
    for strange in (None, b"", b"{}", b"[]", b'{"policies":null}', b'{"policies":[["0",{"resolver":"max"}]]}'):
        assert read_deciders(strange).policies is None
