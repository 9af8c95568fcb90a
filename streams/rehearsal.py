"""What a policy makes of a sequence of changes, compared with what was expected of it; nothing is published.

Records must come out alike in whatever order the changes arrive: that is the engine's promise, and a test of a policy
shows it for its own case. Conflicts are found per change, so they are compared in the order of the file alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.canonical import canonical
from schemas.change import Change
from schemas.codec import decode_conflict, decode_record, encode_change
from schemas.conflict import Conflict
from schemas.golden_record import GoldenRecord
from schemas.policy_test import ExpectedConflict, ExpectedRecord, PolicyTest, TestedChange
from streams.fold import Replay
from streams.policy import Policy

#: Changes without a time of their own are so far apart.
STEP_MS = 60_000
#: All orders of five changes.
MOST_ORDERS = 120


@dataclass(frozen=True, slots=True)
class Arrival:
    """A change as Kafka hands it over, appended when it occurred."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a sequence. records: of each entity the last golden record, None for a deleted one."""

    records: dict[str, GoldenRecord | None]
    conflicts: list[Conflict]
    refused: list[str]


def rehearse(policy: Policy, changes: Sequence[Change]) -> Outcome:
    """Resolve changes one by one, in this order. Raises Refusal for one that cannot even be encoded."""
    replay, outcome = Replay(policy, "changes"), Outcome({}, [], [])
    for offset, change in enumerate(changes):
        arrival = Arrival(offset, change.occurred_at, change.key.encode(), encode_change(change, policy.limits))
        effects = replay.feed(0, [arrival])
        for key, body in effects.records:
            outcome.records[key.decode()] = None if body is None else decode_record(body)
        outcome.conflicts.extend(decode_conflict(body) for _, body in effects.conflicts)
        outcome.refused.extend(letter.reason for letter in effects.dead_letters)
    return outcome


def complaints(test: PolicyTest, policy: Policy) -> list[str]:
    """In what the outcome of a test differs from what it expects, a line each. Raises Refusal as `rehearse`."""
    changes = changes_of(test.changes)
    outcome, expected = rehearse(policy, changes), test.expect
    found = [line for key, record in expected.records.items() for line in _about(key, outcome.records.get(key), record)]
    if expected.conflicts is not None:
        found += _about_conflicts(outcome.conflicts, expected.conflicts)
    if outcome.refused != expected.refused:
        found.append(f"refused are {outcome.refused}, expected {expected.refused}")
    whole = comparable(outcome)
    for order in orders(changes):
        if comparable(rehearse(policy, order)) != whole:
            names = ", ".join(f"{change.source}@{change.version}" for change in order)
            found.append(f"in the order {names} the records are others")
            break
    return found


def changes_of(lines: Sequence[TestedChange]) -> list[Change]:
    """The changes of a test, with what it leaves out filled in. Raises Refusal."""
    versions: dict[tuple[str, str], int] = {}
    changes: list[Change] = []
    at = 0
    for line in lines:
        at = at + STEP_MS if line.at is None else line.at
        entity_type, _, entity_id = line.key.partition(":")
        given = line.model_dump(exclude={"key", "at"})
        whole = {**given, "entity_type": entity_type, "entity_id": entity_id}
        change = Change.fill(whole, versions.get((line.source, line.key), 0) + 1, at)
        versions[line.source, line.key] = change.version
        changes.append(change)
    return changes


def orders(changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """Orders of a sequence: all of a short one, and of a long one those of its last five changes."""
    return itertools.islice(itertools.permutations(changes), MOST_ORDERS)


def comparable(outcome: Outcome) -> dict[str, Any]:
    """What must not depend on the order of the changes."""
    return {
        key: None if record is None else (canonical(record.fields), record.contested, record.pending)
        for key, record in outcome.records.items()
    }


def _about(key: str, record: GoldenRecord | None, expected: ExpectedRecord | None) -> Iterator[str]:
    if expected is None or record is None:
        if expected is not None:
            yield f"{key} is deleted or never was, expected a record"
        elif record is not None:
            yield f"{key} exists, expected it deleted or never written"
        return
    for name in sorted({*record.fields, *(expected.fields or {})}) if expected.fields is not None else ():
        is_, should = _said(record.fields, name), _said(expected.fields or {}, name)
        if is_ != should:
            yield f"{key} {name} is {is_}{_winner(record, name)}, expected {should}"
    for name, source in (expected.won_by or {}).items():
        sources = [one.source for one in record.provenance.get(name, [])]
        if source not in sources:
            yield f"{key} {name} was won by {', '.join(sources) or 'nobody'}, expected {source}"
    for what in ("contested", "pending"):
        names, wanted = getattr(record, what), getattr(expected, what)
        if wanted is not None and names != sorted(wanted):
            yield f"{key} {what} is {names}, expected {sorted(wanted)}"


def _said(fields: dict[str, Any], name: str) -> str:
    return canonical(fields[name]) if name in fields else "absent"


def _winner(record: GoldenRecord, name: str) -> str:
    made_by = record.provenance.get(name, [])
    return f" (of {', '.join(f'{one.source}@{one.version}' for one in made_by)})" if made_by else ""


def _about_conflicts(found: list[Conflict], expected: list[ExpectedConflict]) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"{len(found)} conflicts, expected {len(expected)}: {'; '.join(map(_told, found)) or 'none'}"
        return
    for number, (conflict, wanted) in enumerate(zip(found, expected, strict=True), 1):
        for name, value in wanted.model_dump(exclude_none=True).items():
            is_ = conflict.winner and conflict.winner.source if name == "winner" else getattr(conflict, name)
            if is_ != value:
                yield f"conflict {number}: {name} is {is_}, expected {value} ({_told(conflict)})"


def _told(conflict: Conflict) -> str:
    return f"{conflict.key} {conflict.field} {conflict.kind} {conflict.outcome}"
