"""Set union of the live arrays, sorted by canonical JSON; a scalar is one element. Never a conflict."""

from __future__ import annotations

from schemas.canonical import canonical, parse
from streams.entity import Write
from streams.resolvers.decision import ABSENT, Decision, Ranks, not_null


def decide(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
    """The elements of all live values, each once."""
    members = not_null(live)
    if not members:
        return ABSENT
    elements = {element for write in members for element in _elements(write.value)}
    return Decision("[" + ",".join(sorted(elements)) + "]", members)


def _elements(value: str) -> list[str]:
    if not value.startswith("["):
        return [value]
    return [canonical(element) for element in parse(value)]
