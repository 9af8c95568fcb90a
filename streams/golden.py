"""The golden record of an entity, as it goes to the topic `records` and to the view (SPEC sections 3, 5, 6)."""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.canonical import canonical_string
from streams.causality import Clock
from streams.entity import Entity, Write
from streams.merge import EXISTENCE, Judgement
from streams.policy import EntityPolicy


class Golden(NamedTuple):
    """What is true of one entity. fields: name -> (canonical JSON text, the writes that make it), sorted by name.

    A deleted entity has no fields and nothing pending, and is contested in its existence or not at all.
    """

    exists: bool
    fields: list[tuple[str, str, list[Write]]]
    clock: Clock
    contested: list[str]
    pending: list[str]


def golden(entity: Entity, judgement: Judgement, policy: EntityPolicy) -> Golden:
    """Reads the golden record off a judged state."""
    existence = judgement.existence
    contested = [EXISTENCE] if existence.contested else []
    if not existence.exists:
        return Golden(False, [], entity.clock(), contested, [])
    fields: list[tuple[str, str, list[Write]]] = []
    pending: list[str] = []
    for name, verdict in judgement.fields.items():
        if verdict.value is not None:
            fields.append((name, verdict.value, verdict.made_by))
        if verdict.contested:
            contested.append(name)
            if policy.rule(name).resolver.pends:
                pending.append(name)
    return Golden(True, fields, entity.clock(), contested, pending)


MOST_NAMES: Final = 10_000
_quoted: Final[dict[str, str]] = {}


def quoted_name(name: str) -> str:
    """A name of a field or a source as a JSON string; few come, again and again."""
    text = _quoted.get(name)
    if text is None:
        if len(_quoted) >= MOST_NAMES:
            _quoted.clear()
        text = _quoted[name] = canonical_string(name)
    return text


def document(record: Golden) -> str:
    """The golden fields as one canonical JSON object."""
    return "{" + ",".join([quoted_name(name) + ":" + value for name, value, _ in record.fields]) + "}"


def clock_text(clock: Clock) -> str:
    """A clock as canonical JSON."""
    return "{" + ",".join([quoted_name(source) + ":" + str(clock[source]) for source in sorted(clock)]) + "}"


def names_text(names: list[str]) -> str:
    """A list of names as canonical JSON."""
    return "[" + ",".join([quoted_name(name) for name in names]) + "]" if names else "[]"
