"""Clocks: which dots a writer had read. A clock is a version vector, source -> highest version (SPEC section 1)."""

from __future__ import annotations

Clock = dict[str, int]


def covers(seen: Clock | None, source: str, version: int) -> bool:
    """True iff a writer with this `seen` had read the dot (source, version); None means that nothing is known."""
    return seen is not None and seen.get(source, 0) >= version


def join_clocks(left: Clock | None, right: Clock | None) -> Clock | None:
    """The pointwise greatest of two clocks; None is the least element.

    Returns one of the arguments itself where the other adds nothing, so that equal clocks stay one object
    and are stored once.
    """
    if right is None or right is left:
        return left
    if left is None:
        return right
    joined: Clock | None = None
    for source, version in right.items():
        if left.get(source, -1) < version:
            if joined is None:
                joined = dict(left)
            joined[source] = version
    return left if joined is None else joined
