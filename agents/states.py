"""The entity states of one partition: what every store of them can do, and the store in memory.

What is stored here has two origins. States that a change gave are stored before their changelog records are sent, and
kept when Kafka has acknowledged those: what outlives the process never runs ahead of the changelog. States that the
changelog gave, in recovery, are there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from agents.ranges import APPLIED_KEY, POLICY_KEY
from agents.topic_identity import TopicIdentity

PositionOf = Callable[[bytes], int]

#: Entity key -> its state; None where the changelog says that it is gone.
Changes = dict[bytes, bytes | None]


class Reader(Protocol):
    """Looks up what is stored under a key."""

    def get(self, key: bytes, /) -> bytes | None: ...


class PartitionStates(Protocol):
    """The states of one partition by entity key, and how far they go.

    contained: offset of the last changelog record that they contain, -1 for none. contained_at: when that was so
    (seconds since the epoch). applied: offset of the last change that they reflect, -1 for none. deciders: what the
    changelog says of the policies (streams/reresolution.py), None for nothing.
    """

    contained: int
    contained_at: float
    applied: int
    deciders: bytes | None

    def get(self, key: bytes, /) -> bytes | None: ...

    def store(self, states: Iterable[tuple[bytes, bytes]], /) -> None:
        """Store states whose changelog records are not acknowledged yet."""

    def keep(self, states: Iterable[tuple[bytes, bytes]]) -> None:
        """Those that `store` was given are acknowledged."""

    def known(self, keys: Iterable[bytes]) -> Reader:
        """What is kept under these keys, to be read before `replace`."""

    def replace(self, changes: Changes) -> None:
        """Keep what the changelog says."""

    def key_chunks(self, most: int) -> Iterator[list[bytes]]:
        """The keys that there are when it begins, perhaps some twice or later ones too; other calls may lie between.

        most: keys at a time. Of no use any more when the states are closed.
        """

    def clear(self) -> None:
        """Forget all, `contained`, `applied` and `deciders` too."""

    def close(self) -> None:
        """Give them up; a store that outlives the process can go on from here."""

    def __contains__(self, key: object) -> bool: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


class Home(Protocol):
    """Where a worker's states are."""

    def enter(self, identity: TopicIdentity) -> None:
        """Make ready for states of this changelog."""

    def open(self, partition: int) -> PartitionStates:
        """The states of a partition, as they were closed, or none."""


class MemoryStates(dict[bytes, bytes]):
    """States in memory: a plain dict, so that a lookup costs no more than that."""

    def __init__(self) -> None:
        super().__init__()
        self._forget_offsets()

    def _forget_offsets(self) -> None:
        self.contained = self.applied = -1
        self.contained_at = 0.0
        self.deciders: bytes | None = None

    store = dict.update

    def keep(self, states: Iterable[tuple[bytes, bytes]]) -> None:
        """Nothing here outlives the process."""

    def known(self, keys: Iterable[bytes]) -> Reader:
        return self

    def replace(self, changes: Changes) -> None:
        for key, state in changes.items():
            if state is None:
                self.pop(key, None)
            else:
                self[key] = state

    def key_chunks(self, most: int) -> Iterator[list[bytes]]:
        keys = list(self)
        for start in range(0, len(keys), most):
            yield keys[start : start + most]

    def clear(self) -> None:
        super().clear()
        self._forget_offsets()

    close = clear


class MemoryHome:
    """States in memory, which a closed store leaves nothing of."""

    def enter(self, identity: TopicIdentity) -> None:
        pass

    def open(self, partition: int) -> MemoryStates:
        return MemoryStates()


class Fold(NamedTuple):
    """changes: what a part of the changelog says. applied: offset of the last change that it reflects, -1 for none.

    deciders: what it says last of the policies, None for nothing.
    """

    changes: Changes
    applied: int
    deciders: bytes | None


def fold(records: Sequence[Any], states: PartitionStates, position_of: PositionOf) -> Fold:
    """What records of the changelog (key, value, offset) change in these states."""
    known = states.known(record.key for record in records if record.key is not None)
    changes: Changes = {}
    applied = -1
    deciders: bytes | None = None
    for record in records:
        key, value = record.key, record.value
        if key is None:  # no record, but a gap at the end of the log (agents/lane.py)
            continue
        if value is None:
            changes[key] = None
            continue
        if key == POLICY_KEY:
            deciders = value
            continue
        position = position_of(value)
        applied = max(applied, position)
        if key == APPLIED_KEY:
            continue
        before = changes[key] if key in changes else known.get(key)
        # A worker that was stopped beyond its session and then went on may have written an older
        # state after the new owner's: the one that reflects more of `changes` stays.
        if before is None or position >= position_of(before):
            changes[key] = value
    return Fold(changes, applied, deciders)


def why_outdated(
    states: PartitionStates, log_start: int, log_end: int, tombstone_seconds: float, now: float
) -> str | None:
    """Why states cannot be brought up to date by reading on in their changelog; None when they can.

    log_start, log_end: the first offset of the changelog, and the next there will be. tombstone_seconds: how long
    Kafka keeps a null at least. now: seconds since the epoch.
    """
    following = states.contained + 1
    if following == log_end or not following:
        return None
    if following > log_end:
        return f"the changelog ends before offset {log_end}: it was made anew"
    if following < log_start:
        return f"the changelog begins at offset {log_start}: what lay between is gone"
    if not 0 <= now - states.contained_at < tombstone_seconds:
        return f"nulls that Kafka keeps for {tombstone_seconds:.0f} s may be gone from the changelog"
    return None
