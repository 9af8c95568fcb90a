"""What people's writes can say beyond a value: that it is pinned, that a pin is over, that a decision is withdrawn.

All stand in the `seen` of a steward's write, under names that begin with `*` and so are no sources:

- `*pinned` -> v: this steward's write v is a pin. As long as it is the newest of its source and not released, it
  dominates whatever a source writes, whenever, and whatever that had read.
- `*released` -> v: this steward's pins up to version v are none any more. It comes with a lower version than the pin's,
  so that the pinned write stays as the ordinary decision it would have been: who had read it has read it.
- `*steward:x` -> v: what steward x decided here up to version v is withdrawn. It is judged as if it had never been.

A `seen` only ever grows by the pointwise greatest, so all of this survives any order and any duplication like evidence.
"""

from __future__ import annotations

from typing import Final

from streams.causality import Clock, covers
from streams.entity import Entity, Write

RESERVED: Final = "*"
PINNED: Final = "*pinned"
RELEASED: Final = "*released"


def withdrawal_of(source: str) -> str:
    """The name under which a steward's `seen` has the version up to which a source's decisions are withdrawn."""
    return RESERVED + source


def pinned(write: Write) -> bool:
    """Whether a write is a pin that is not released."""
    seen, version = write.seen, write.dot.version
    if seen is None or not write.dot.by_steward:
        return False
    return seen.get(PINNED, 0) == version and seen.get(RELEASED, 0) < version


def pin_decides(one: Write, other: Write) -> bool:
    """Whether one of two writes is a steward's pin and the other of a source, so that the steward's dominates."""
    return one.dot.by_steward != other.dot.by_steward and pinned(one if one.dot.by_steward else other)


def decision_of(write: Write) -> str | None:
    """The command id of the decision that a steward's write is; None for any other write."""
    parts = write.dot.event_id.split("/")
    return parts[2] if write.dot.by_steward and len(parts) == 3 else None


def pinned_until(write: Write) -> int | None:
    """When a pin ends, ms since the epoch; None for what is no pin, or one that does not say."""
    parts = write.dot.event_id.split("/")
    return int(parts[1]) if pinned(write) and len(parts) == 3 and parts[1].isdigit() else None


def has_steward(writes: list[Write]) -> bool:
    """Whether a person is among the writers."""
    for write in writes:
        if write.dot.by_steward:
            return True
    return False


def _only_sources(writes: list[Write]) -> bool:
    for write in writes:
        if write.dot.by_steward or write.dot.by_clock:
            return False
    return True


def standing(writes: list[Write], also: list[Write]) -> list[Write]:
    """The writes that no steward withdrew; withdrawals stand in them and in `also`. The very list where none did.

    Less those of the clock, which say nothing but the time.
    """
    if _only_sources(writes):
        return writes
    withdrawals = [write.seen for write in writes + also if write.dot.by_steward and write.seen is not None]
    rest = [write for write in writes if not write.dot.by_clock and not withdrawn(write, withdrawals)]
    return writes if len(rest) == len(writes) else rest


def withdrawn(write: Write, withdrawals: list[Clock]) -> bool:
    """Whether one of these says that a steward's write is withdrawn."""
    if not write.dot.by_steward:
        return False
    name, version = withdrawal_of(write.dot.source), write.dot.version
    for seen in withdrawals:
        if covers(seen, name, version):
            return True
    return False


def standing_touches(entity: Entity) -> list[Write]:
    """The touches that count; the very list of the entity where no person is concerned."""
    return standing(entity.touches, entity.tombstones)


def standing_tombstones(entity: Entity) -> list[Write]:
    """The tombstones that count; the very list of the entity where no person is concerned."""
    return standing(entity.tombstones, entity.touches) if entity.tombstones else entity.tombstones
