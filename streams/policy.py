"""The policy: who may win what. Read from the policy file's mapping, checked, and given a version (SPEC section 3)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from schemas.canonical import canonical
from schemas.refusal import Limits
from streams.resolvers import RESOLVERS, Resolver
from streams.resolvers.decision import Ranks

ON_DELETE: Final = ("update_wins", "delete_wins", "last_update_wins", "source_priority")
DEFAULT_RESOLVER: Final = "last_update_wins"
DEFAULT_WINDOW_MS: Final = 1_000
DEFAULT_MAX_FUTURE_MS: Final = 60_000

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_ENTITY_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*")


class PolicyError(ValueError):
    """The policy file says something that cannot be; the message names the place and what would be right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is decided. group: the name of the field group that decides it, None for a field of its own."""

    resolver: Resolver
    ranks: Ranks
    group: str | None = None


@dataclass(frozen=True, slots=True)
class EntityPolicy:
    """The rules of one entity type. groups: group -> (its rule, its fields).

    tombstone_by_time, touch_by_time: whether time alone lets a tombstone dominate, and a touch a tombstone.
    """

    default: Rule
    fields: dict[str, Rule]
    groups: dict[str, tuple[Rule, tuple[str, ...]]]
    on_delete: str
    tombstone_by_time: bool
    touch_by_time: bool
    ranks: Ranks
    window_ms: int

    def rule(self, field_name: str) -> Rule:
        return self.fields.get(field_name, self.default)


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy. version: first 16 hex digits of the SHA-256 of what it says, stamped on all it decides.

    sources: names that may write, None where they are not declared. max_future_ms: limit of the clock guard.
    view_ttl_ms: life of a key of the view, None for ever.
    limits: what is refused as too much.
    """

    version: str
    default: EntityPolicy
    entities: dict[str, EntityPolicy]
    sources: frozenset[str] | None
    max_future_ms: int
    view_ttl_ms: int | None
    limits: Limits

    def of(self, entity_type: str) -> EntityPolicy:
        return self.entities.get(entity_type, self.default)


@dataclass(slots=True)
class _Reader:
    """Walks the mapping and remembers where it is, so that an error can name the place."""

    path: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)

    def fail(self, place: str, problem: str) -> PolicyError:
        return PolicyError(f"policy, {self.path}{place}: {problem}")

    def at(self, place: str) -> _Reader:
        return _Reader(f"{self.path}{place}.", self.defaults)

    def mapping(self, value: object, place: str, allowed: Iterable[str] | None = None) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(place, f"{value!r} must be a mapping")
        for key in value:
            if not isinstance(key, str):
                raise self.fail(place, f"the key {key!r} must be text; quote it")
            if allowed is not None and key not in allowed:
                raise self.fail(place, f"unknown key {key!r}; {suggestion(key, allowed)}")
        return value

    def names(self, value: object, place: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise self.fail(place, f"{value!r} must be a list of names")
        if len(set(value)) != len(value):
            raise self.fail(place, f"{value!r} names something twice")
        return tuple(value)

    def choice(self, value: object, place: str, allowed: Iterable[str]) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise self.fail(place, f"{value!r} is not known; {suggestion(str(value), allowed)}")
        return value

    def duration_ms(self, value: object, place: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        match = re.fullmatch(r"(\d+)\s*(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if match is None:
            raise self.fail(place, f"{value!r} must be a time such as 500ms, 1s, 5m, 2h or 1d")
        return int(match[1]) * _UNITS_MS[match[2]]


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The nearest allowed word, or all of them."""
    known = sorted(allowed)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "it must be one of " + ", ".join(known)


def parse_policy(document: object) -> Policy:
    """Reads the policy file's mapping (None or {} is the policy of defaults).

    Raises PolicyError with one line that names the place and what would be right.
    """
    reader = _Reader()
    top = reader.mapping(document, "top", _TOP_KEYS)
    sources = None
    if "sources" in top:
        sources = frozenset(reader.mapping(top["sources"], "sources"))
        for name in sorted(sources):
            reader.mapping(top["sources"][name], f"sources.{name}", ())
    priority = reader.names(top.get("priority", []), "priority")
    reader.defaults = {
        "priority": priority,
        "resolver": _resolver(reader, top.get("resolver", DEFAULT_RESOLVER), "resolver"),
        "window_ms": reader.duration_ms(top.get("convergence_window", DEFAULT_WINDOW_MS), "convergence_window"),
        "sources": sources,
    }
    _check_order(reader, priority, "priority")
    entities = {}
    for entity_type, body in reader.mapping(top.get("entities"), "entities").items():
        if not _ENTITY_TYPE.fullmatch(entity_type):
            raise reader.fail(f"entities.{entity_type}", "an entity type is lower case letters, digits and _")
        entities[entity_type] = _entity(reader.at(f"entities.{entity_type}"), body)
    view = reader.mapping(top.get("view"), "view", ("ttl",))
    ttl = view.get("ttl")
    return Policy(
        version=sha256(canonical(top).encode()).hexdigest()[:16],
        default=_entity(reader, {}),
        entities=entities,
        sources=sources,
        max_future_ms=reader.duration_ms(top.get("max_future", DEFAULT_MAX_FUTURE_MS), "max_future"),
        view_ttl_ms=None if ttl is None else reader.duration_ms(ttl, "view.ttl"),
        limits=_limits(reader, top.get("limits")),
    )


_TOP_KEYS: Final = (
    "priority",
    "resolver",
    "convergence_window",
    "max_future",
    "sources",
    "entities",
    "view",
    "limits",
)
_LIMITS: Final = ("change_bytes", "value_bytes", "depth", "fields", "seen", "state_bytes")
_ENTITY_KEYS: Final = ("resolver", "on_delete", "convergence_window", "fields", "field_groups")
_FIELD_KEYS: Final = ("resolver", "order")
_GROUP_KEYS: Final = ("fields", "resolver", "order")


def _entity(reader: _Reader, body: object) -> EntityPolicy:
    entity = reader.mapping(body, "", _ENTITY_KEYS)
    defaults = reader.defaults
    resolver = defaults["resolver"]
    if "resolver" in entity:
        resolver = _resolver(reader, entity["resolver"], "resolver")
    window_ms = defaults["window_ms"]
    if "convergence_window" in entity:
        window_ms = reader.duration_ms(entity["convergence_window"], "convergence_window")
    fields: dict[str, Rule] = {}
    for name, rule in reader.mapping(entity.get("fields"), "fields").items():
        fields[name] = _rule(reader.at("fields"), name, reader.mapping(rule, f"fields.{name}", _FIELD_KEYS), resolver)
    groups = {}
    for name, group in reader.mapping(entity.get("field_groups"), "field_groups").items():
        rule, members = _group(reader.at("field_groups"), name, group, resolver)
        for member in members:
            if member in fields:
                what = "has an entry under fields" if fields[member].group is None else "is in another group"
                raise reader.fail(f"field_groups.{name}", f"the field {member!r} {what}; it can have one rule only")
            fields[member] = rule
        groups[name] = (rule, members)
    on_delete = reader.choice(entity.get("on_delete", ON_DELETE[0]), "on_delete", ON_DELETE)
    return EntityPolicy(
        default=Rule(resolver, Ranks(defaults["priority"])),
        fields=fields,
        groups=groups,
        on_delete=on_delete,
        tombstone_by_time=on_delete != "source_priority",
        touch_by_time=on_delete in ("update_wins", "last_update_wins"),
        ranks=Ranks(defaults["priority"]),
        window_ms=window_ms,
    )


def _rule(reader: _Reader, name: str, body: dict[str, Any], default: Resolver, group: str | None = None) -> Rule:
    resolver = default
    if "resolver" in body:
        resolver = _resolver(reader, body["resolver"], f"{name}.resolver")
    order = reader.names(body.get("order") or [], f"{name}.order")
    _check_order(reader, order, f"{name}.order")
    return Rule(resolver, Ranks(order or reader.defaults["priority"]), group)


def _group(reader: _Reader, name: str, body: object, default: Resolver) -> tuple[Rule, tuple[str, ...]]:
    if isinstance(body, list):
        body = {"fields": body}
    group = reader.mapping(body, name, _GROUP_KEYS)
    members = reader.names(group.get("fields"), f"{name}.fields")
    rule = _rule(reader, name, group, default, name)
    if rule.resolver.pick is None:
        raise reader.fail(name, f"{rule.resolver.name!r} does not pick one write, so it cannot decide a group")
    return rule, members


def _limits(reader: _Reader, body: object) -> Limits:
    given = reader.mapping(body, "limits", _LIMITS)
    for name, limit in given.items():
        if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
            raise reader.fail(f"limits.{name}", f"{limit!r} must be a whole number above 0")
    return Limits(**given)


def _resolver(reader: _Reader, name: object, place: str) -> Resolver:
    return RESOLVERS[reader.choice(name, place, RESOLVERS)]


def _check_order(reader: _Reader, order: tuple[str, ...], place: str) -> None:
    """Where sources are declared, an order may name no other."""
    sources = reader.defaults["sources"]
    for name in order:
        if sources is not None and name not in sources:
            raise reader.fail(place, f"unknown source {name!r}; {suggestion(name, sources)}")
