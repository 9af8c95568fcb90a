"""What the shell must do for one batch, as data, in the order in which it must do it.

The order of the fields below is the order of work:

1. `dead_letters` and `conflicts` are sent and acknowledged by Kafka;
2. then `states` and `records` are sent and acknowledged;
3. then, and only then, the batch's offsets may be committed.

`view` may be handed to Redis at any moment: it is a deterministic function of input that is already
durable, and the view's guard refuses what is older than what it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from mypy_extensions import mypyc_attr


class InputRecord(Protocol):
    """One record of `changes` as the consumer hands it over (what aiokafka parses has this shape)."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class DeadLetter(NamedTuple):
    """A record that was refused. place: its index in the batch, so that the shell sends the bytes as received."""

    place: int
    reason: str
    stage: str
    message: str


@mypyc_attr(acyclic=True)
class ViewRow:
    """What the view holds of one entity. doc is None for an entity that is deleted; texts are canonical JSON."""

    __slots__ = ("clock", "contested", "doc", "key", "offset")

    def __init__(self, key: bytes, doc: str | None, clock: str, contested: str, offset: int) -> None:
        self.key: Final = key
        self.doc: Final = doc
        self.clock: Final = clock
        self.contested: Final = contested
        self.offset: Final = offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ViewRow) and self.parts() == other.parts()

    def __hash__(self) -> int:
        return hash(self.parts())

    def parts(self) -> tuple[bytes, str | None, str, str, int]:
        """Key, document, clock, contested fields, offset."""
        return self.key, self.doc, self.clock, self.contested, self.offset


@dataclass(slots=True)
class BatchEffects:
    """All effects of one batch of one partition; `states`, `records` and `view` have at most one entry per entity.

    applied: offset of the last change that moved a state, -1 for none.
    """

    dead_letters: list[DeadLetter] = field(default_factory=list)
    conflicts: list[tuple[bytes, bytes]] = field(default_factory=list)
    states: list[tuple[bytes, bytes]] = field(default_factory=list)
    records: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    view: list[ViewRow] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    applied: int = -1

    def count(self, name: str, times: int = 1) -> None:
        """Adds to one of the counters."""
        self.counts[name] = self.counts.get(name, 0) + times

    def extend(self, other: BatchEffects) -> None:
        """Adds the effects of what came after."""
        self.dead_letters += other.dead_letters
        self.conflicts += other.conflicts
        self.states += other.states
        self.records += other.records
        self.view += other.view
        self.applied = max(self.applied, other.applied)
        for name, times in other.counts.items():
            self.count(name, times)
