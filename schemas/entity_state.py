"""The state of one entity as the change log of the table holds it (SPEC section 3).

The engine has its own encoder for it; this model is for whoever looks at a state from outside, and for
checking that encoder.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.record import Clock, Int, Long, Op, Record, Value, Version


class StatePosition(Record):
    """The last change of topic changes in this state."""

    partition: Int
    offset: Long


class KnownDot(Record):
    """What all writes of one change share. seen: index into clocks, -1 not known."""

    source: str
    version: Version
    occurred_at: Long
    op: Op
    event_id: str
    seen: Int


class Stamp(Record):
    """The newest change of one kind of one source: indexes into dots and (greatest seen) clocks."""

    dot: Int
    seen: Int


class Replaced(Record):
    """A value that was replaced. hash: 8 bytes."""

    hash: Annotated[bytes, Field(min_length=8, max_length=8)]
    version: Version
    occurred_at: Long


class Write(Record):
    """A source's newest write of a field: indexes into dots and clocks, its value, what it replaced."""

    dot: Int
    value: Value
    seen: Int
    before: Int
    replaced: list[Replaced]


class FieldWrites(Record):
    """One field: the newest write of each source."""

    name: str
    writes: list[Write]


class ConflictBudget(Record):
    """How many conflict records an entity has had in its newest minute."""

    minute: Long
    found: Long
    left_out: Long


class EntityState(Record):
    """clocks: the distinct seen maps. dots: the changes referred to. The rest refers to both by index."""

    position: StatePosition
    clocks: list[Clock]
    dots: list[KnownDot]
    touches: list[Stamp]
    tombstones: list[Stamp]
    fields: list[FieldWrites]
    conflicts: ConflictBudget | None = None
