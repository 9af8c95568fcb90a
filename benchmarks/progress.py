"""How far a system had come at which moment, read off what it wrote: the broker's clock is that of every rate."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple


class Output(NamedTuple):
    """A golden record. at_ms: of its append, since the epoch. offset: of the change that it came from."""

    at_ms: int
    partition: int
    offset: int


class Moment(NamedTuple):
    """When so many changes were done."""

    at_ms: int
    done: int


def moment_of(outputs: Iterable[Output], wanted: int) -> Moment:
    """The first moment at which at least `wanted` changes were done. Raises ValueError if there was none.

    A partition is done as far as the furthest change that anything came from; some changes, such as duplicates,
    leave no output, and some outputs stand for many changes. Appends of one millisecond are one moment.
    """
    reached: dict[int, int] = {}
    for at_ms, appended in groupby(sorted(outputs), key=attrgetter("at_ms")):
        for output in appended:
            reached[output.partition] = max(reached.get(output.partition, 0), output.offset + 1)
        if (done := sum(reached.values())) >= wanted:
            return Moment(at_ms, done)
    raise ValueError(f"only {sum(reached.values())} of {wanted} changes were done")
