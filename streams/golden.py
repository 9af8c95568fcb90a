"""The golden record of an entity, as it goes to the topic `records` and to the view (SPEC sections 3, 5, 6)."""

from __future__ import annotations

from typing import Final

from librt.strings import StringWriter
from mypy_extensions import mypyc_attr

from streams.causality import Clock
from streams.entity import Entity
from streams.merge import EXISTENCE, Judgement, Verdict
from streams.names import name_of
from streams.policy import EntityPolicy


@mypyc_attr(acyclic=True)
class Golden:
    """What is true of one entity. fields: name -> verdict with a value, sorted by name.

    A deleted entity has no fields and nothing pending, and is contested in its existence or not at all.
    """

    __slots__ = ("clock", "contested", "exists", "fields", "pending")

    def __init__(
        self, exists: bool, fields: dict[str, Verdict], clock: Clock, contested: list[str], pending: list[str]
    ) -> None:
        self.exists: Final = exists
        self.fields: Final = fields
        self.clock: Final = clock
        self.contested: Final = contested
        self.pending: Final = pending


def golden(entity: Entity, judgement: Judgement, policy: EntityPolicy) -> Golden:
    """Reads the golden record off a judged state."""
    existence = judgement.existence
    contested = [EXISTENCE] if existence.contested else []
    if not existence.exists:
        return Golden(False, {}, entity.clock(), contested, [])
    fields: dict[str, Verdict] = {}
    pending: list[str] = []
    for name, verdict in judgement.fields.items():
        if verdict.value is not None:
            fields[name] = verdict
        if verdict.contested:
            contested.append(name)
            if verdict.pending(policy.rule(name)):
                pending.append(name)
    return Golden(True, fields, entity.clock(), contested, pending)


def document(record: Golden) -> str:
    """The golden fields as one canonical JSON object."""
    out = StringWriter()
    mark = "{"
    for name, verdict in record.fields.items():
        out.write(mark)
        out.write(name_of(name).quoted)
        out.write(":")
        out.write(verdict.value or "")
        mark = ","
    out.write("}" if record.fields else "{}")
    return out.getvalue()


def clock_text(clock: Clock) -> str:
    """A clock as canonical JSON."""
    out = StringWriter()
    mark = "{"
    for source in sorted(clock):
        out.write(mark)
        out.write(name_of(source).quoted)
        out.write(":")
        out.write(str(clock[source]))
        mark = ","
    out.write("}" if clock else "{}")
    return out.getvalue()


def names_text(names: list[str]) -> str:
    """A list of names as canonical JSON."""
    return "[" + ",".join([name_of(name).quoted for name in names]) + "]" if names else "[]"
