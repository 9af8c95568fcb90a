"""Which entity a foreign record is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.canonical import canonical
from schemas.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Identity:
    """What syncline.yaml says of it. entity_type: None to take the one that the record names.

    id: fields that make the entity's id, empty to take those of the record's key.
    """

    entity_type: str | None = None
    id: tuple[str, ...] = ()


def entity_id(values: Sequence[Any]) -> str:
    """The id that these values make: a text stays as it is, several are a JSON array. Raises Refusal bad_entity_id."""
    if not values or any(value is None for value in values):
        raise Refusal("bad_entity_id", "a field that makes the entity's id has no value", "check")
    try:
        if len(values) > 1:
            return canonical(list(values))
        return values[0] if isinstance(values[0], str) else canonical(values[0])
    except ValueError as error:
        raise Refusal("bad_entity_id", f"the entity's id: {error}", "check") from None


def values_of(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """The values of these fields, None where there is none."""
    return [row.get(name) for name in names]
