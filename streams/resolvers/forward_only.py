"""`forward_only`: a state machine that never goes back. Of all writes that stand, those of the furthest states count.

A state is further than another if a chain of allowed transitions leads from that one to it. States of which neither
leads to the other, as shipped and cancelled, are a conflict. What is no state is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.canonical import canonical
from streams.entity import Write


class States:
    """The states, each with all that come after it, as canonical JSON texts."""

    __slots__ = ("_after",)

    def __init__(self, transitions: Mapping[str, Sequence[str]]) -> None:
        """Raises ValueError for a circle, in which nothing would be further than anything else."""
        after: Final[dict[str, frozenset[str]]] = {}
        for state in transitions:
            reached = _reached(state, transitions)
            if state in reached:
                raise ValueError(f"{state!r} comes after itself; transitions must not lead back")
            after[canonical(state)] = frozenset([canonical(other) for other in reached])
        for states in list(after.values()):
            for last in states:
                after.setdefault(last, frozenset())
        self._after: Final = after

    def fits(self, value: str) -> bool:
        """Whether a canonical JSON text is a state."""
        return value in self._after

    def furthest(self, writes: list[Write]) -> list[Write]:
        """The writes of states after which no other of them comes."""
        known = [write for write in writes if write.value in self._after]
        values = {write.value for write in known}
        return [write for write in known if self._after[write.value].isdisjoint(values)]


def in_a_row(states: Sequence[str]) -> dict[str, list[str]]:
    """The transitions of states that follow one another."""
    return {state: list(states[place + 1 : place + 2]) for place, state in enumerate(states)}


def _reached(start: str, transitions: Mapping[str, Sequence[str]]) -> set[str]:
    """All that a chain of transitions leads to."""
    reached: set[str] = set()
    waiting = list(transitions[start])
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(transitions.get(state, ()))
    return reached
