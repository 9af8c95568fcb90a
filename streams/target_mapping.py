"""Which golden records a target gets, and as what: a pure function of the record and of the target's section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from schemas.canonical import canonical
from schemas.condition_document import ConditionDocument
from schemas.golden_record import GoldenRecord
from schemas.record import Position
from schemas.target_document import EntityMappingDocument, TargetDocument
from streams.delivery import Delivery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field must be; values are canonical JSON, `null` for one that is absent. one_of: None for anything."""

    field: str
    one_of: frozenset[str] | None
    none_of: frozenset[str]

    @classmethod
    def of(cls, field: str, said: ConditionDocument) -> Self:
        """A condition as the file says it."""
        one_of = None if said.one_of is None else frozenset(map(canonical, said.one_of))
        return cls(field, one_of, frozenset(map(canonical, said.none_of or ())))

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether a record with these fields meets it."""
        value = canonical(fields.get(self.field))
        return value not in self.none_of and (self.one_of is None or value in self.one_of)


@dataclass(frozen=True, slots=True)
class EntityMapping:
    """What becomes of the records of one entity type. fields: those that the target gets, None for all."""

    conditions: tuple[Condition, ...]
    fields: frozenset[str] | None
    rename: Mapping[str, str]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, said: EntityMappingDocument) -> Self:
        """A mapping as the file says it."""
        return cls(
            tuple(Condition.of(field, condition) for field, condition in said.where.items()),
            None if said.fields is None else frozenset(said.fields),
            said.rename,
            {name: value for name, value in said.constants.items() if value is not None},
        )

    def wants(self, record: GoldenRecord) -> bool:
        """Whether the target is to have this record."""
        return all(condition.holds(record.fields) for condition in self.conditions)

    def apply(self, record: GoldenRecord) -> GoldenRecord:
        """The record with the fields that the target gets, by the names it has for them."""
        if self.fields is None and not self.rename and not self.constants:
            return record
        return record.model_copy(
            update={
                "fields": {**self._mapped(record.fields), **self.constants},
                "provenance": self._mapped(record.provenance),
                "contested": sorted(self._mapped(dict.fromkeys(record.contested))),
                "pending": sorted(self._mapped(dict.fromkeys(record.pending))),
            }
        )

    def _mapped(self, by_field: Mapping[str, T]) -> dict[str, T]:
        """A constant comes before a renamed field of the same name, and that before one that has it of its own."""
        taken = {*self.constants, *self.rename.values()}
        selected = {name: value for name, value in by_field.items() if self.fields is None or name in self.fields}
        plain = {name: value for name, value in selected.items() if name not in self.rename and name not in taken}
        renamed = {new: selected[name] for name, new in self.rename.items() if name in selected}
        return plain | {name: value for name, value in renamed.items() if name not in self.constants}


AS_IT_IS = EntityMapping((), None, {}, {})


@dataclass(frozen=True, slots=True)
class TargetMapping:
    """target: name. entities: by entity type, None for all types as they are."""

    target: str
    generation: int
    entities: Mapping[str, EntityMapping] | None

    @classmethod
    def of(cls, target: str, said: TargetDocument) -> Self:
        """The mapping of a target as the file says it."""
        entities = said.entities
        mappings = None if entities is None else {name: EntityMapping.of(body) for name, body in entities.items()}
        return cls(target, said.generation, mappings)

    def delivery(self, key: str, record: GoldenRecord | None, position: Position) -> Delivery | None:
        """What the target is to know of an entity; None: nothing, it does not get entities of this type.

        record: None where the entity is deleted. What does not meet the conditions is deleted at the target, for it may
        have met them before. position: of the record in `records`.
        """
        mapping = AS_IT_IS if self.entities is None else self.entities.get(key.partition(":")[0])
        if mapping is None:
            return None
        wanted = None if record is None or not mapping.wants(record) else mapping.apply(record)
        return Delivery(self.target, key, wanted, position, self.generation)
