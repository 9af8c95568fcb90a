"""Which of two writes dominates the other: evidence first, then version, then time (SPEC section 3).

The functions see two writes and no sides: whoever holds the state or brings the change makes no difference.
"""

from __future__ import annotations

from streams.causality import covers
from streams.entity import MAX_REPLACED, Write
from streams.stewardship import pin_decides


def saw(later: Write, earlier: Write) -> bool:
    """The source of `later` had read `earlier`: by its clock or, where it never sent one, by a value it replaced."""
    if later.seen is not None:
        return covers(later.seen, earlier.dot.source, earlier.dot.version)
    if later.replaced is None:
        return False
    time = earlier.dot.time
    replaced = later.replaced.get(earlier.value_hash)
    if replaced is not None and replaced[1] >= time:
        return True
    if len(later.replaced) < MAX_REPLACED:
        return False
    # All places are taken, so what was replaced longer ago is forgotten: it counts as replaced.
    oldest = min((when, value) for value, when in later.replaced.items())
    return time <= oldest[0][1]


def later_by_time(later: Write, earlier: Write, window_ms: int) -> bool:
    """`later` knew nothing of others and came more than the convergence window after `earlier`."""
    return later.dot.seen is None and later.dot.time - earlier.dot.time > window_ms


def dominates(winner: Write, loser: Write, window_ms: int, time_counts: bool) -> bool:
    """Whether one write of a field overrules another of the same field."""
    if winner.dot.source == loser.dot.source:
        return winner.dot.version > loser.dot.version
    if pin_decides(winner, loser):
        return winner.dot.by_steward
    informed, contradicted = saw(winner, loser), saw(loser, winner)
    if informed or contradicted:
        return informed and not contradicted
    return time_counts and later_by_time(winner, loser, window_ms)


def buries(tombstone: Write, write: Write, window_ms: int, time_counts: bool) -> bool:
    """Whether a tombstone dominates a touch or a field's write; at their common dot it does."""
    if tombstone.dot.source == write.dot.source:
        return tombstone.dot.version >= write.dot.version
    if pin_decides(tombstone, write):
        return tombstone.dot.by_steward
    informed, contradicted = _read(tombstone, write), _read(write, tombstone)
    if informed or contradicted:
        return informed and not contradicted
    return time_counts and later_by_time(tombstone, write, window_ms)


def revives(touch: Write, tombstone: Write, window_ms: int, time_counts: bool) -> bool:
    """Whether a touch dominates a tombstone."""
    return informed_revival(touch, tombstone) or (
        touch.dot.source != tombstone.dot.source
        and time_counts
        and not pin_decides(touch, tombstone)
        and not _read(touch, tombstone)
        and not _read(tombstone, touch)
        and later_by_time(touch, tombstone, window_ms)
    )


def informed_revival(touch: Write, tombstone: Write) -> bool:
    """Whether a touch dominates a tombstone by version or by evidence, and not merely by time."""
    if touch.dot.source == tombstone.dot.source:
        return touch.dot.version > tombstone.dot.version
    if pin_decides(touch, tombstone):
        return touch.dot.by_steward
    return _read(touch, tombstone) and not _read(tombstone, touch)


def _read(later: Write, earlier: Write) -> bool:
    """Where a tombstone is one of the two, only clocks count: a value says nothing about existence."""
    return covers(later.seen, earlier.dot.source, earlier.dot.version)
