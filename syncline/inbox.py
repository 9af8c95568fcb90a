"""The conflicts that wait: read from the states in the table's changelog, filtered, with what is deferred."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from agents.expiry import DEFERRALS
from agents.names import TopicNames
from agents.settings import Settings
from schemas.conflict import Kind
from schemas.document import Duration
from schemas.suggestion import suggestion
from streams.entity import Entity, Write
from streams.entity_codec import decode_entity
from streams.open_conflicts import STANDINGS, OpenConflict, decisions, open_conflicts
from streams.policy import Policy
from syncline.hybrid_clock import wall_clock_ms
from syncline.places import newest_states, newest_values
from syncline.terminal import CommandError

#: The shortest beginning of an id that is taken for it.
ID_DIGITS: Final = 6

Filter = Callable[[OpenConflict], bool]


class Decided(NamedTuple):
    """A decision of a person that stands."""

    key: str
    field: str
    write: Write


class Inbox(NamedTuple):
    """states: by entity key. conflicts: those that are open, sorted by key and field. deferred: by conflict id."""

    states: dict[str, Entity]
    conflicts: list[OpenConflict]
    deferred: dict[str, dict[str, Any]]

    def deferred_now(self, conflict: OpenConflict) -> bool:
        """Whether a conflict is hidden for a while."""
        told = self.deferred.get(conflict.conflict_id)
        return told is not None and int(told["until"]) > wall_clock_ms()

    def find(self, wanted: str) -> OpenConflict | None:
        """The open conflict of an id, or of its beginning; None for none. Raises CommandError for several."""
        return _only(wanted, {one.conflict_id: one for one in self.conflicts if one.conflict_id.startswith(wanted)})

    def decided(self, wanted: str) -> Decided | None:
        """The decision that stands under a command id, or that decided the conflict of this id."""
        found = {
            write.dot.event_id: Decided(key, field, write)
            for key, entity in self.states.items()
            for field, write in decisions(entity)
            if any(part.startswith(wanted) for part in write.dot.event_id.split("/")[1:])
        }
        return _only(wanted, found)


def _only(wanted: str, found: dict[str, Any]) -> Any:
    if len(wanted) < ID_DIGITS:
        raise CommandError(f"{wanted!r} is too short for an id; give at least its first {ID_DIGITS} characters")
    if len(found) > 1:
        raise CommandError(f"{wanted!r} is the beginning of {len(found)} ids; give more of it")
    return next(iter(found.values()), None)


async def read_inbox(settings: Settings, policy: Policy, key: bytes | None = None) -> Inbox:
    """What is open now. key: of this entity alone."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    states: dict[str, Entity] = {}
    conflicts: list[OpenConflict] = []
    for raw, state in sorted((await newest_states(settings.kafka, names.changelog, key)).items()):
        name, entity = raw.decode(), decode_entity(state)
        if not name.partition(":")[1]:
            continue  # not of an entity: how far the table is
        states[name] = entity
        conflicts += open_conflicts(name, entity, policy.of(name.partition(":")[0]))
    deferred = {
        subject.decode().removeprefix(DEFERRALS): json.loads(told)
        for subject, told in (await newest_values(settings.kafka, names.control)).items()
        if subject.startswith(DEFERRALS.encode())
    }
    return Inbox(states, conflicts, deferred)


def filter_of(wheres: Iterable[str], now_ms: int) -> Filter:
    """What `--where NAME=VALUE` lets pass; all of several must. Raises CommandError."""
    filters = [_one_filter(where, now_ms) for where in wheres]
    return lambda conflict: all(passes(conflict) for passes in filters)


def key_in(wheres: Iterable[str]) -> bytes | None:
    """The entity key that the filters name, so that only its partition need be read."""
    return next((where.partition("=")[2].encode() for where in wheres if where.startswith("key=")), None)


def _one_filter(where: str, now_ms: int) -> Filter:
    name, _, value = where.partition("=")
    if name in ("older", "newer"):
        border = now_ms - _duration(where, value)
        return (lambda c: c.since <= border) if name == "older" else (lambda c: c.since >= border)
    allowed = {"kind": get_args(Kind), "outcome": STANDINGS}.get(name)
    if allowed and value not in allowed:
        raise CommandError(f"--where {where}: no such {name}; {suggestion(value, allowed)}")
    if name not in _PARTS or not value:
        known = sorted([*_PARTS, "older", "newer"])
        raise CommandError(f"--where {where}: it is NAME=VALUE; {suggestion(name, known)}")
    part = _PARTS[name]
    return lambda conflict: value in part(conflict)


_PARTS: Final[dict[str, Callable[[OpenConflict], Iterable[str]]]] = {
    "type": lambda conflict: [conflict.key.partition(":")[0]],
    "key": lambda conflict: [conflict.key],
    "kind": lambda conflict: [conflict.kind],
    "field": lambda conflict: [conflict.field],
    "source": lambda conflict: [write.dot.source for write in conflict.candidates],
    "outcome": lambda conflict: [conflict.outcome],
}


def _duration(where: str, value: str) -> int:
    try:
        return TypeAdapter(Duration).validate_python(value)
    except ValidationError:
        raise CommandError(f"--where {where}: {value!r} is no time such as 30s, 5m, 2h or 1d") from None
