"""What another policy would make of states: which fields would have another value, or another standing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from streams.entity import TOMBSTONE, TOUCH, Entity
from streams.golden import golden
from streams.merge import EXISTENCE, judge
from streams.policy import EntityPolicy, Policy

#: Sections that say which changes may enter; they hold for what comes from now on.
ADMISSION: Final = ("sources", "max_future", "limits")


@dataclass(frozen=True, slots=True)
class Said:
    """What a policy says of a field. value: canonical JSON text, None where the field is absent."""

    value: str | None
    contested: bool
    pending: bool


ABSENT: Final = Said(None, False, False)


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of an entity of which two policies say different things; field `*`: whether it exists."""

    key: str
    field: str
    before: Said
    after: Said


@dataclass(slots=True)
class Comparison:
    """Two policies over many states. concerned: entities whose type has other rules. changed: those with a difference.

    values, contested, pending: how many entities differ in that, by entity type and field. examples: the first ones.
    """

    before: Policy
    after: Policy
    most_examples: int
    entities: int = 0
    concerned: int = 0
    changed: int = 0
    values: Counter[tuple[str, str]] = field(default_factory=Counter)
    contested: Counter[tuple[str, str]] = field(default_factory=Counter)
    pending: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)

    def add(self, key: str, entity: Entity) -> None:
        """Compare what both say of one more entity."""
        entity_type = key.partition(":")[0]
        before, after = self.before.of(entity_type), self.after.of(entity_type)
        self.entities += 1
        if after.decides_like(before):
            return
        self.concerned += 1
        found = list(differences(key, entity, before, after))
        self.changed += bool(found)
        for one in found:
            place = (entity_type, one.field)
            self.values[place] += one.before.value != one.after.value
            self.contested[place] += one.before.contested != one.after.contested
            self.pending[place] += one.before.pending != one.after.pending
        self.examples += found[: max(self.most_examples - len(self.examples), 0)]

    def fields(self) -> list[tuple[str, str]]:
        """Entity type and field of all that differs, sorted."""
        return sorted({*self.values, *self.contested, *self.pending})


def differences(key: str, entity: Entity, before: EntityPolicy, after: EntityPolicy) -> Iterator[Difference]:
    """In which fields two policies differ over one state, existence first."""
    old, new = _said(entity, before), _said(entity, after)
    for name in sorted({*old, *new}):
        if old.get(name, ABSENT) != new.get(name, ABSENT):
            yield Difference(key, name, old.get(name, ABSENT), new.get(name, ABSENT))


def concerned_types(before: Policy, after: Policy) -> list[str]:
    """The entity types that have other rules; `*` for those that neither policy names."""
    named = before.entities.keys() | after.entities.keys()
    found = sorted(name for name in named if not after.of(name).decides_like(before.of(name)))
    return found if after.default.decides_like(before.default) else [*found, "*"]


def admits_otherwise(before: Policy, after: Policy) -> bool:
    """Whether other changes may enter under the second policy than under the first."""
    types = before.entities.keys() | after.entities.keys()
    if any(before.of(name).types != after.of(name).types for name in types):
        return True
    guards = [(one.sources, one.max_future_ms, one.max_future_ms_of, one.limits) for one in (before, after)]
    return guards[0] != guards[1]


def _said(entity: Entity, policy: EntityPolicy) -> dict[str, Said]:
    """Field -> what the policy says of it."""
    judgement = judge(entity, policy)
    record = golden(entity, judgement, policy)
    existence = Said(TOUCH if record.exists else TOMBSTONE, judgement.existence.contested, False)
    said = {EXISTENCE: existence}
    if record.exists:
        for name, verdict in judgement.fields.items():
            said[name] = Said(verdict.value, verdict.contested, name in record.pending)
    return said
