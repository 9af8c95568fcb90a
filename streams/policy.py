"""The policy: who may win what. Read from the policy file's mapping, checked, and given a version (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from schemas.canonical import canonical
from schemas.ingest_document import IngestDocument
from schemas.policy_document import EntityDocument, FieldDocument, PolicyDocument, PolicyError, customs, read_document
from schemas.refusal import Limits
from schemas.resolver_document import PARAMETERS, RuleDocument
from schemas.suggestion import suggestion
from streams.resolvers import Resolver, custom, keeping_siblings, made
from streams.resolvers.custom import Functions, UserFunction
from streams.resolvers.decision import Ranks

#: Resolver -> the types that it makes something of; one that is not here takes all.
TAKEN: Final[dict[str, tuple[str, ...]]] = {
    "sum": ("integer", "number"),
    "union": ("array",),
    "max": ("integer", "number", "string", "timestamp", "boolean"),
    "min": ("integer", "number", "string", "timestamp", "boolean"),
    "longest": ("string", "array", "object"),
    "forward_only": ("string",),
    "stock": ("integer", "number"),
}

#: Sections of the file that do not decide who wins.
NO_POLICY: Final = ("worker", "targets", "journal", "conflicts")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is decided. group: the name of the field group that decides it, None for a field of its own."""

    resolver: Resolver
    ranks: Ranks
    group: str | None = None


@dataclass(frozen=True, slots=True)
class EntityPolicy:
    """The rules of one entity type. groups: group -> (its rule, its fields). personal: fields whose values are masked.
    types: field -> the type of its values, where it has one.

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
    personal: frozenset[str]
    types: dict[str, str]

    def rule(self, field_name: str) -> Rule:
        return self.fields.get(field_name, self.default)

    def deciding(self, on_delete: str) -> EntityPolicy:
        """The same rules with another on_delete."""
        return replace(
            self,
            on_delete=on_delete,
            tombstone_by_time=_tombstone_by_time(on_delete),
            touch_by_time=_touch_by_time(on_delete),
        )

    def decides_like(self, other: EntityPolicy) -> bool:
        """Whether every state is judged alike under both."""
        mine = (self.default, self.groups, self.on_delete, self.ranks, self.window_ms)
        if mine != (other.default, other.groups, other.on_delete, other.ranks, other.window_ms):
            return False
        return all(self.rule(name) == other.rule(name) for name in self.fields.keys() | other.fields.keys())


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy. version: first 16 hex digits of the SHA-256 of what it says, stamped on all it decides.

    said: the mapping that it was read from, less what is no policy.
    sources: names that may write, None where they are not declared. max_future_ms: limit of the clock guard,
    max_future_ms_of: of sources that have one of their own.
    view_ttl_ms: life of a key of the view, None for ever.
    conflicts_per_minute: conflict records of one entity, before some are left out.
    limits: what is refused as too much.
    """

    version: str
    said: dict[str, Any]
    default: EntityPolicy
    entities: dict[str, EntityPolicy]
    sources: frozenset[str] | None
    max_future_ms: int
    max_future_ms_of: dict[str, int]
    view_ttl_ms: int | None
    conflicts_per_minute: int
    limits: Limits

    def of(self, entity_type: str) -> EntityPolicy:
        return self.entities.get(entity_type, self.default)


def parse_policy(document: object, functions: Functions = custom.none) -> Policy:
    """Reads the policy file's mapping (None or {} is the policy of defaults).

    functions: finds what `custom` names; LookupError with one line for what it does not find.
    Raises PolicyError with one line that names the place and what would be right.
    """
    read = read_document(document)
    read = read.model_copy(update={"priority": _priority(read)})
    _check_order(read, read.priority, "priority")
    _check_arrivals(read)
    return Policy(
        default=_entity(read, EntityDocument(), "", functions),
        entities={name: _entity(read, body, f"entities.{name}.", functions) for name, body in read.entities.items()},
        version=_version(document, _codes(read, functions)),
        said=_said(document),
        sources=None if read.sources is None else frozenset(read.sources),
        max_future_ms=read.max_future,
        max_future_ms_of={
            name: source.max_future for name, source in (read.sources or {}).items() if source.max_future is not None
        },
        view_ttl_ms=read.view.ttl,
        conflicts_per_minute=read.conflicts.per_minute,
        limits=Limits(**read.limits.model_dump()),
    )


def _priority(read: PolicyDocument) -> list[str]:
    """The sources in their order, as `priority` lists them or as each says by itself."""
    placed = {name: source.priority for name, source in (read.sources or {}).items() if source.priority is not None}
    if not placed:
        return read.priority
    if read.priority:
        raise PolicyError("policy, priority: sources have a priority of their own; say it in one place only")
    names: dict[int, str] = {}
    for name, place in placed.items():
        if place in names:
            raise PolicyError(f"policy, sources.{name}.priority: {place} is that of {names[place]!r}; each has its own")
        names[place] = name
    return [names[place] for place in sorted(names)]


def _said(document: object) -> dict[str, Any]:
    """The file's mapping less what does not decide who wins: the sections beside, and where changes arrive."""
    said = {key: value for key, value in document.items() if key not in NO_POLICY} if isinstance(document, dict) else {}
    if isinstance(said.get("sources"), dict):
        said["sources"] = {name: _without_arrival(source) for name, source in said["sources"].items()}
    return said


def _version(document: object, codes: dict[str, str]) -> str:
    """Names what the policy says and the code that it names; what is personal has no part in it."""
    said = _said(document)
    if isinstance(said.get("entities"), dict):
        said["entities"] = {name: _deciding(entity) for name, entity in said["entities"].items()}
    if codes:
        said["code"] = codes
    return sha256(canonical(said).encode()).hexdigest()[:16]


def _without_arrival(source: object) -> object:
    if not isinstance(source, dict):
        return source
    return {key: value for key, value in source.items() if key not in IngestDocument.model_fields}


def _check_arrivals(read: PolicyDocument) -> None:
    """Where a source's changes arrive, no other source's do."""
    taken: dict[tuple[str, str, str], str] = {}
    for name, source in (read.sources or {}).items():
        topic, stream = source.topic, source.redis_stream
        if topic is not None and stream is not None:
            raise PolicyError(
                f"policy, sources.{name}: it has a topic and a redis_stream; say where its changes arrive"
            )
        if topic is None and stream is None:
            continue
        place = ("redis_stream", stream.url or "", stream.stream) if stream is not None else ("topic", "", topic or "")
        if place in taken:
            where = f"{place[0]} {place[2]!r}"
            raise PolicyError(f"policy, sources.{name}: {where} is that of {taken[place]!r}; each has its own")
        taken[place] = name


def _deciding(entity: object) -> object:
    """An entity type's rules without the word that a field is personal, and without fields of which nothing is said."""
    if not isinstance(entity, dict):
        return entity
    rules = dict(entity)
    for section in ("fields", "field_groups"):
        if isinstance(entity.get(section), dict):
            bodies = {name: _without_personal(body) for name, body in entity[section].items()}
            rules[section] = {name: body for name, body in bodies.items() if body}
    return {key: value for key, value in rules.items() if value != {}}


def _without_personal(body: object) -> object:
    return {key: value for key, value in body.items() if key != "personal"} if isinstance(body, dict) else body


def _entity(read: PolicyDocument, entity: EntityDocument, path: str, functions: Functions) -> EntityPolicy:
    resolver = _resolver(read, entity, _made(read.resolver, {}, ""), path, functions)
    fields = {
        name: _rule(read, body, resolver, f"{path}fields.{name}.", functions) for name, body in entity.fields.items()
    }
    groups: dict[str, tuple[Rule, tuple[str, ...]]] = {}
    for name, group in entity.field_groups.items():
        rule = _rule(read, group, resolver, f"{path}field_groups.{name}.", functions, name)
        if not rule.resolver.grouped:
            problem = f"{rule.resolver.name!r} does not pick one write, so it cannot decide a group"
            raise PolicyError(f"policy, {path}field_groups.{name}: {problem}")
        for member in group.fields:
            if member in fields:
                what = "has an entry under fields" if fields[member].group is None else "is in another group"
                problem = f"the field {member!r} {what}; it can have one rule only"
                raise PolicyError(f"policy, {path}field_groups.{name}: {problem}")
            fields[member] = rule
        groups[name] = (rule, tuple(group.fields))
    _check_groups(entity, path)
    types = _types(entity)
    _check_types(types, fields, path)
    keeping = keeping_siblings(entity.max_siblings)
    on_delete, ranks = entity.on_delete, Ranks(tuple(read.priority))
    window_ms = entity.convergence_window
    return EntityPolicy(
        default=_keeping(Rule(resolver, ranks), keeping),
        fields={name: _keeping(rule, keeping) for name, rule in fields.items()},
        groups=groups,
        on_delete=on_delete,
        tombstone_by_time=_tombstone_by_time(on_delete),
        touch_by_time=_touch_by_time(on_delete),
        ranks=ranks,
        window_ms=read.convergence_window if window_ms is None else window_ms,
        personal=_personal(entity),
        types=types,
    )


def _tombstone_by_time(on_delete: str) -> bool:
    return on_delete != "source_priority"


def _touch_by_time(on_delete: str) -> bool:
    return on_delete in ("update_wins", "last_update_wins")


def _keeping(rule: Rule, keeping: Resolver) -> Rule:
    """The rule, with the entity type's own form of `keep_siblings` if it is that."""
    return Rule(keeping, rule.ranks, rule.group) if rule.resolver.name == keeping.name else rule


def _check_groups(entity: EntityDocument, path: str) -> None:
    """A group has fields and no other groups, so that there is no cycle; a field may have the name of its own group."""
    for name, group in entity.field_groups.items():
        for member in group.fields:
            if member != name and member in entity.field_groups and member not in entity.field_groups[member].fields:
                problem = f"{member!r} is a group itself; groups have fields, name these here"
                raise PolicyError(f"policy, {path}field_groups.{name}: {problem}")


def _types(entity: EntityDocument) -> dict[str, str]:
    """The types of the fields that have one, by themselves or as members of a group."""
    types = {name: str(body.type) for name, body in entity.fields.items() if body.type is not None}
    for group in entity.field_groups.values():
        if group.type is not None:
            types.update({member: str(group.type) for member in group.fields})
    return types


def _check_types(types: dict[str, str], fields: dict[str, Rule], path: str) -> None:
    """No resolver on a type that it makes nothing of."""
    for name, type_ in types.items():
        resolver, group = fields[name].resolver.name, fields[name].group
        taken = TAKEN.get(resolver)
        if taken is not None and type_ not in taken:
            place = f"fields.{name}" if group is None else f"field_groups.{group}"
            problem = f"{resolver!r} takes {' or '.join(taken)}, and no {type_}"
            raise PolicyError(f"policy, {path}{place}.type: {problem}")


def _personal(entity: EntityDocument) -> frozenset[str]:
    """Fields whose values are to be masked, by themselves or as members of a group."""
    names = {name for name, body in entity.fields.items() if body.personal}
    return frozenset(names.union(*(group.fields for group in entity.field_groups.values() if group.personal)))


def _rule(
    read: PolicyDocument,
    body: FieldDocument,
    default: Resolver,
    path: str,
    functions: Functions,
    group: str | None = None,
) -> Rule:
    order = body.order or []
    _check_order(read, order, f"{path}order")
    return Rule(_resolver(read, body, default, path, functions), Ranks(tuple(order or read.priority)), group)


def _resolver(read: PolicyDocument, body: RuleDocument, default: Resolver, path: str, functions: Functions) -> Resolver:
    """What a rule names, made with its parameters; the default where it names nothing."""
    name, parameters = body.resolver, body.parameters()
    if body.custom is not None and name is not None:
        raise PolicyError(f"policy, {path}custom: there is a resolver, too; say one of them")
    for parameter in parameters:
        if parameter not in PARAMETERS.get(name or "", ()):
            owner = next(owner for owner, taken in PARAMETERS.items() if parameter in taken)
            problem = f"{name!r} takes no {parameter}" if name else f"{parameter} is given and no resolver"
            raise PolicyError(f"policy, {path}{parameter}: {problem}; it belongs to resolver: {owner}")
    if body.custom is not None:
        return custom.resolver(_function(body.custom, f"{path}custom", functions), read.limits.value_bytes)
    if name is None:
        return default
    _check_order(read, list(body.scores or ()), f"{path}scores")
    for source in body.half_life or ():
        if source not in (body.scores or {}):
            problem = f"{source!r} has no score; {suggestion(source, body.scores or {})}"
            raise PolicyError(f"policy, {path}half_life: {problem}")
    return _made(name, parameters, path)


def _made(name: str, parameters: dict[str, Any], path: str) -> Resolver:
    try:
        return made(name, parameters)
    except ValueError as error:
        raise PolicyError(f"policy, {path}resolver: {error}") from None


def _function(name: str, place: str, functions: Functions) -> UserFunction:
    try:
        return functions(name)
    except LookupError as error:
        raise PolicyError(f"policy, {place}: {error.args[0]}") from None


def _codes(read: PolicyDocument, functions: Functions) -> dict[str, str]:
    """The code of every function that the file names."""
    return {name: _function(name, "custom", functions).code for name, _, _ in customs(read)}


def _check_order(read: PolicyDocument, order: list[str], place: str) -> None:
    """Where sources are declared, an order may name no other."""
    for name in order:
        if read.sources is not None and name not in read.sources:
            raise PolicyError(f"policy, {place}: unknown source {name!r}; {suggestion(name, read.sources)}")
