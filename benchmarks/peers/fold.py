"""The job as people write it without Syncline: per field the last update wins, by priority within a second.

Every peer does just this (Kafka Streams in Java: Fold.java), and its outputs must be what this gives.
"""

from __future__ import annotations

from typing import Any

from benchmarks.rule import CONVERGENCE_WINDOW_MS, PRIORITY

#: Of the keys that a peer sets in Redis.
VIEW_PREFIX = b"stock:"
RANK = {source: rank for rank, source in enumerate(PRIORITY)}

#: fields: name -> (value, occurred_at, source); deleted: the same for existence; versions: newest of each source.
State = dict[str, Any]


def new_state() -> State:
    """The state of an entity that was never written."""
    return {"fields": {}, "deleted": None, "versions": {}, "conflicts": 0}


def fold(state: State, change: dict[str, Any]) -> bool:
    """Add a change to a state; False for a duplicate, which adds nothing."""
    source, at, versions = change["source"], change["occurred_at"], state["versions"]
    if change["version"] <= versions.get(source, 0):
        return False
    versions[source] = change["version"]
    deleted = change["op"] == "delete"
    if wins(state, state["deleted"], deleted, at, source):
        state["deleted"] = (deleted, at, source)
    fields = state["fields"]
    for name, value in change["fields"].items():
        if wins(state, fields.get(name), value, at, source):
            fields[name] = (value, at, source)
    return True


def wins(state: State, held: tuple[Any, int, str] | None, value: Any, at: int, source: str) -> bool:
    """Whether a value replaces the one that is held; counts a conflict where two sources disagree at one time."""
    if held is None:
        return True
    later_ms = at - held[1]
    if source != held[2] and value != held[0] and -CONVERGENCE_WINDOW_MS < later_ms < CONVERGENCE_WINDOW_MS:
        state["conflicts"] += 1
        return RANK[source] < RANK[held[2]]
    return later_ms > 0


def golden(state: State, change: dict[str, Any]) -> dict[str, Any]:
    """The golden record after a change."""
    return {
        "entity_type": change["entity_type"],
        "entity_id": change["entity_id"],
        "event_id": change["event_id"],
        "deleted": state["deleted"][0],
        "fields": {name: held[0] for name, held in state["fields"].items()},
        "conflicts": state["conflicts"],
    }
