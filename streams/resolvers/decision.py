"""What a resolver is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from streams.entity import STEWARD_PREFIX, Write

NULL: Final = "null"
# What is noted about a decision.
OVERSOLD: Final = "oversold"
FAILED: Final = "failed: "


class Ranks:
    """Position of each source in an order, strongest first: a person before all, what is not listed after all."""

    __slots__ = ("_places",)

    def __init__(self, order: tuple[str, ...]) -> None:
        self._places = {source: place for place, source in enumerate(order)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranks) and self._places == other._places

    def __hash__(self) -> int:
        return hash(tuple(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def of(self, source: str) -> int:
        if source.startswith(STEWARD_PREFIX):
            return -1
        return self._places.get(source, len(self._places))


class Decision(NamedTuple):
    """value: canonical JSON text, None where the field is absent. made_by: the writes that make it so.

    note: empty, OVERSOLD, or FAILED with what failed, where the value is provisional.
    """

    value: str | None
    made_by: list[Write]
    note: str = ""


Pick = Callable[[list[Write], Ranks], Write]
Decide = Callable[[list[Write], list[Write], Ranks], Decision]
Narrow = Callable[[list[Write]], list[Write]]
Fits = Callable[[str], bool]

ABSENT: Final = Decision(None, [])


def picked(write: Write) -> Decision:
    """The decision for one write; its null means that the field is absent."""
    return Decision(None if write.value == NULL else write.value, [write])


def not_null(writes: list[Write]) -> list[Write]:
    """The writes that carry a value."""
    return [write for write in writes if write.value != NULL]
