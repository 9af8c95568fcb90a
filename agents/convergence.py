"""The convergence check of users' resolvers: whether golden records can depend on anything but the changes.

Hypothesis makes histories of one entity: blind and informed writes, ties, duplicates, deletes, snapshots, people's
decisions. They go through the real engine; each time the engine asks the function, it is asked again: the same, in
other orders of the list, and at the end in processes with other hash seeds. Of what goes wrong the smallest case that
can be found is told, as a policy test.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from agents.user_functions import user_function
from schemas.canonical import canonical
from schemas.change import Change
from schemas.live_write import LiveWrite
from streams.budget import MOST_INSTRUCTIONS, TooLong, within_budget
from streams.policy import Policy, parse_policy
from streams.rehearsal import comparable, rehearse
from streams.resolvers.custom import UserFunction

#: Of histories; each is resolved in four orders.
EXAMPLES: Final = 150
#: Values are larger in earnest: here a function may take so many times less.
MARGIN: Final = 10
MOST_ORDERS: Final = 24
HASH_SEEDS: Final = ("1", "2")
CHILD_SECONDS: Final = 60.0

History = list[Change]


class Diverges(Exception):
    """The function is no resolver. history: changes that show it. shown: what it did."""

    def __init__(self, problem: str, history: History) -> None:
        super().__init__(problem)
        self.problem, self.history = problem, history


@dataclass(frozen=True, slots=True)
class Checked:
    """What was tried. asked: times that the engine asked the function. failed: those of them without an answer."""

    asked: int
    failed: int


@dataclass(slots=True)
class Asked:
    """One question to the function, and its answer."""

    history: History
    writes: list[LiveWrite]
    answer: str


class Probe:
    """Stands in for the function in the engine, and asks it more than once. problem: what went wrong first."""

    def __init__(self, function: UserFunction) -> None:
        self.function = function
        self.asked: list[Asked] = []
        self.history: History = []
        self.problem = ""

    def __call__(self, writes: tuple[LiveWrite, ...]) -> Any:
        """As the function, for the engine."""
        # The engine counts instructions; those of this file need not be counted, and the function's are counted below.
        sys.settrace(None)
        answer = self.answer(writes)
        self.asked.append(Asked(self.history, [_copy(write) for write in writes], answer))
        if self.problem:
            return None
        if self.answer(writes) != answer:
            self.found("answers differently when it is asked again")
        for order in itertools.islice(itertools.permutations(writes), 1, MOST_ORDERS):
            other = self.answer(order)
            if other != answer:
                listed = " and ".join(
                    f"for {', '.join(_names(one))} it {said}" for one, said in ((writes, answer), (order, other))
                )
                self.found(f"depends on the order of the list: {listed}")
        return self.function.function(writes)

    def answer(self, writes: tuple[LiveWrite, ...]) -> str:
        """What the function makes of copies of the writes, in words."""
        given = tuple(_copy(write) for write in writes)
        try:
            returned = within_budget(self.function.function, given, MOST_INSTRUCTIONS // MARGIN)
        except TooLong:
            self.found(
                f"takes too long: more than {MOST_INSTRUCTIONS // MARGIN} instructions, a {MARGIN}th of the budget"
            )
            return "takes too long"
        except Exception as error:
            return f"raises {type(error).__name__}"
        if [canonical_or_none(one.value) for one in given] != [canonical(one.value) for one in writes]:
            self.found("changes the values that it is given")
        for write in given:
            if returned is write:
                return f"takes {write.source}@{write.version} {canonical_or_none(write.value)}"
        text = canonical_or_none(returned)
        if text is None:
            self.found(f"returns a {type(returned).__name__}, which is neither one of the writes nor a JSON value")
        return f"returns {text}"

    def found(self, problem: str) -> None:
        """Notes what is wrong, if nothing was before."""
        self.problem = self.problem or problem


def check(function: UserFunction, entity_type: str = "customer", field: str = "value") -> Checked:
    """Tries a function on a field. Raises Diverges with the smallest history that shows what is wrong."""
    from agents.convergence_cases import histories, smallest_failure

    probe = Probe(function)
    rules = {"priority": ["crm", "billing"], "entities": {entity_type: {"fields": {field: {"custom": function.name}}}}}
    policy = parse_policy(rules, lambda _: UserFunction(function.name, probe, function.code))

    def examine(history: History) -> None:
        probe.history, probe.problem = history, ""
        records = comparable(rehearse(policy, history))
        for order in (history[::-1], history[1::2] + history[::2], history + history[::-1]):
            if not probe.problem and comparable(rehearse(policy, order)) != records:
                probe.found("gives other records in another order")
        if probe.problem:
            raise Diverges(probe.problem, history)

    smallest_failure(histories(entity_type, field, function.function), examine, Diverges, EXAMPLES)
    asked = probe.asked
    _compare_processes(function, asked)
    failed = [one for one in asked if one.answer.startswith("raises")]
    if asked and len(failed) == len(asked):
        raise Diverges(f"{failed[0].answer} whatever it is given", min(failed, key=_size).history)
    return Checked(len(asked), len(failed))


def as_policy_test(name: str, found: Diverges, policy: Policy, field: str) -> str:
    """The counter-example as a file of policy tests that one can paste; the policy has the function."""
    key = found.history[0].key
    record = rehearse(policy, found.history).records.get(key)
    fields = None if record is None else {"fields": {field: record.fields[field]} if field in record.fields else {}}
    lines = [f"# {name} {found.problem}", "tests:", f"  - name: {json.dumps(f'{name} converges')}", "    changes:"]
    lines += [f"      - {json.dumps(_said(change))}" for change in found.history]
    lines.append(f"    expect: {json.dumps({'records': {key: fields}})}")
    return "\n".join(lines)


def canonical_or_none(value: Any) -> str | None:
    """Canonical JSON, None for what is no JSON value."""
    try:
        return canonical(value)
    except ValueError:
        return None


def _said(change: Change) -> dict[str, Any]:
    said = {"source": change.source, "key": change.key, "op": change.op, "at": change.occurred_at}
    said |= {"version": change.version, "seen": change.seen, "fields": change.fields}
    return {name: value for name, value in said.items() if value is not None and value != {}}


def _copy(write: LiveWrite) -> LiveWrite:
    return replace(write, value=copy.deepcopy(write.value))


def _names(writes: tuple[LiveWrite, ...]) -> list[str]:
    return [f"{write.source}@{write.version}" for write in writes]


def _size(asked: Asked) -> tuple[int, int]:
    return len(asked.history), sum(len(canonical(write.value)) for write in asked.writes)


def _compare_processes(function: UserFunction, asked: list[Asked]) -> None:
    """Asks the same in other processes. Raises Diverges."""
    questions = json.dumps([[asdict(write) for write in one.writes] for one in asked])
    path = os.pathsep.join(path for path in sys.path if path)
    for seed in HASH_SEEDS:
        child = subprocess.run(
            [sys.executable, "-m", "agents.convergence", function.name],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            input=questions,
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
        if child.returncode:
            raise Diverges(f"cannot be asked in another process: {child.stderr.strip().splitlines()[-1:]}", [])
        differing = [
            (one, other) for one, other in zip(asked, json.loads(child.stdout), strict=True) if one.answer != other
        ]
        if differing:
            one, other = min(differing, key=lambda pair: _size(pair[0]))
            raise Diverges(f"answers differently in another process: it {one.answer}, and it {other}", one.history)


def main() -> None:
    """Reads lists of writes as JSON and prints what the named function makes of each, for a parent to compare."""
    probe = Probe(user_function(sys.argv[1]))
    questions = json.load(sys.stdin)
    answers = [probe.answer(tuple(LiveWrite(**write) for write in writes)) for writes in questions]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
