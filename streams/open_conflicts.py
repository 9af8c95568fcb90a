"""The conflicts that a state has now: a function of the state and the policy, and not of how it came about.

Conflict records (SPEC section 4) tell what each change did; this tells what is still to be decided. Which side arrived
last a state does not know, so what a rule decided is `rule` here, where a record has `apply_remote` or `keep_local`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, get_args

from streams.conflicts import Conflict, standing_conflicts
from streams.entity import Entity, Write
from streams.merge import EXISTENCE, judge
from streams.policy import EntityPolicy
from streams.stewardship import decision_of, standing

Standing = Literal["pending", "merge", "user", "rule"]
STANDINGS: Final[tuple[str, ...]] = get_args(Standing)


class OpenConflict(NamedTuple):
    """A conflict of now. value: the golden one, canonical JSON text, None where absent; provisional where `pending`.

    winner: None where no single write is the value. since: occurred_at of its newest write, ms since the epoch.
    """

    conflict_id: str
    key: str
    field: str
    kind: str
    outcome: str
    resolver: str
    value: str | None
    winner: Write | None
    candidates: list[Write]
    since: int


def open_conflicts(key: str, entity: Entity, policy: EntityPolicy) -> list[OpenConflict]:
    """The conflicts of an entity, existence first, then fields by name; of a deleted one only that about existence."""
    judgement = judge(entity, policy)
    return [
        _open(key, conflict)
        for conflict in standing_conflicts(key, judgement, policy)
        if judgement.existence.exists or conflict.field == EXISTENCE
    ]


def decisions(entity: Entity) -> Iterator[tuple[str, Write]]:
    """The decisions by people that stand, with their fields: what can be taken back."""
    for name, writes in [(EXISTENCE, entity.touches + entity.tombstones), *entity.fields.items()]:
        for write in standing(writes, []):
            if decision_of(write) is not None:
                yield name, write


def _open(key: str, conflict: Conflict) -> OpenConflict:
    return OpenConflict(
        conflict_id=conflict.conflict_id,
        key=key,
        field=conflict.field,
        kind=conflict.kind,
        outcome=conflict.outcome if conflict.outcome in STANDINGS else "rule",
        resolver=conflict.resolver,
        value=conflict.value,
        winner=conflict.winner,
        candidates=sorted(conflict.candidates, key=lambda write: (write.dot.source, write.dot.version)),
        since=max(write.dot.occurred_at for write in conflict.candidates),
    )
