"""The policy file as it is written (SPEC section 3): its keys, their types, and what is wrong with a file.

What a file means, which needs more than one key at a time, is for `streams.policy` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from schemas.conflicts_document import ConflictsDocument
from schemas.document import Document, Duration, EntityType, Most, NameKey, Names, mapping, or_nothing
from schemas.ingest_document import IngestDocument
from schemas.journal_document import AnyJournal, JournalDocument
from schemas.refusal import DEFAULT_LIMITS
from schemas.resolver_document import ResolverName, RuleDocument
from schemas.suggestion import suggestion
from schemas.target_document import AnyTarget, TargetName
from schemas.value_types import ValueType

OnDelete = Literal["update_wins", "delete_wins", "last_update_wins", "source_priority"]

DEFAULT_WINDOW_MS: Final = 1_000
DEFAULT_MAX_FUTURE_MS: Final = 60_000


class PolicyError(ValueError):
    """The policy file says something that cannot be; the message names the place and what would be right."""


def _settings(value: object) -> object:
    # Without the value: there may be a password in it.
    if value is not None and not isinstance(value, dict):
        raise ValueError("it must be a mapping of settings, for example kafka: host:port")
    return value


def _sections(value: object) -> object:
    # Without the value, as above.
    if value is not None and not isinstance(value, dict):
        raise ValueError("it must be a mapping of names to mappings")
    return mapping(value)


def _group(value: object) -> object:
    return {"fields": value} if isinstance(value, list) else mapping(value)


class FieldDocument(RuleDocument):
    """How one field is decided."""

    order: Names | None = Field(None, description="sources, strongest first; none: `priority`")
    personal: bool = Field(False, description="its values are masked in conflicts, logs, tables and the change log")
    type: ValueType | None = Field(None, description="of each value but null; a change with another one is refused")


class GroupDocument(FieldDocument):
    """Fields that one source wins together. In the file a list of the fields will do."""

    fields: Names = Field(description="the fields that belong together")


_LISTED: Final = BeforeValidator(_group, json_schema_input_type=GroupDocument | Names)


class EntityDocument(RuleDocument):
    """The rules of one entity type. Its resolver is that of every field without one of its own."""

    on_delete: OnDelete = Field("update_wins", description="what wins where one deleted what another changed")
    convergence_window: Duration | None = Field(None, description="blind writes closer than this are in conflict")
    max_siblings: Most | None = Field(None, description="values that keep_siblings keeps, the latest; none: all")
    fields: dict[NameKey, Annotated[FieldDocument, or_nothing(FieldDocument)]] = Field({}, description="rules by field")
    field_groups: dict[
        NameKey, Annotated[GroupDocument, BeforeValidator(_group, json_schema_input_type=GroupDocument | Names)]
    ] = Field({}, description="fields that are decided together, by the name of the group")


class SourceDocument(IngestDocument):
    """One system that publishes changes, and where they arrive if not on topic `changes`."""

    priority: Most | None = Field(None, description="place among the sources, 1 the strongest; in place of `priority`")
    max_future: Duration | None = Field(None, description="of this source's clock; none: the file's max_future")


class ViewDocument(Document):
    """The view in Redis."""

    ttl: Duration | None = Field(None, description="life of a key of the view; null: for ever")


class LimitsDocument(Document):
    """What is refused as too much, each with its own reason in dead letters."""

    change_bytes: Most = Field(DEFAULT_LIMITS.change_bytes, description="of a record's value")
    value_bytes: Most = Field(DEFAULT_LIMITS.value_bytes, description="of one value as canonical JSON")
    depth: Most = Field(DEFAULT_LIMITS.depth, description="of arrays and objects in a value")
    fields: Most = Field(DEFAULT_LIMITS.fields, description="that one change may name")
    seen: Most = Field(DEFAULT_LIMITS.seen, description="sources that a clock may name, and an entity may have")
    state_bytes: Most = Field(DEFAULT_LIMITS.state_bytes, description="of one entity's encoded state")


class PolicyDocument(Document):
    """syncline.yaml: who may win what, and how workers are set."""

    priority: Names = Field([], description="sources, strongest first")
    resolver: ResolverName = Field("last_update_wins", description="of every field that has none of its own")
    convergence_window: Duration = Field(DEFAULT_WINDOW_MS, description="blind writes closer than this are in conflict")
    max_future: Duration = Field(
        DEFAULT_MAX_FUTURE_MS, description="how far occurred_at may be ahead of the append time"
    )
    sources: dict[NameKey, Annotated[SourceDocument, or_nothing(SourceDocument)]] | None = Field(
        None, description="who may publish; none: anyone"
    )
    entities: dict[EntityType, Annotated[EntityDocument, or_nothing(EntityDocument)]] = Field(
        {}, description="rules by entity type"
    )
    view: Annotated[ViewDocument, or_nothing(ViewDocument)] = ViewDocument()
    limits: Annotated[LimitsDocument, or_nothing(LimitsDocument)] = LimitsDocument()
    conflicts: Annotated[ConflictsDocument, or_nothing(ConflictsDocument)] = ConflictsDocument()
    targets: Annotated[dict[TargetName, AnyTarget], BeforeValidator(_sections)] = Field(
        {}, description="where golden records are delivered to; no part of the policy"
    )
    journal: AnyJournal = Field(JournalDocument(), description="the change log; no part of the policy")
    worker: Annotated[dict[NameKey, Any] | None, BeforeValidator(_settings)] = Field(
        None, description="settings of the workers; no part of the policy"
    )


def customs(read: PolicyDocument) -> Iterator[tuple[str, str, str]]:
    """Each function that a file names, with an entity type and a field of those that it decides."""
    for entity_type, entity in read.entities.items():
        rules: list[tuple[RuleDocument, str]] = [
            (entity, "value"),
            *((rule, name) for name, rule in entity.fields.items()),
        ]
        rules += [(group, group.fields[0]) for group in entity.field_groups.values() if group.fields]
        yield from ((rule.custom, entity_type, field) for rule, field in rules if rule.custom is not None)


def read_document(value: object) -> PolicyDocument:
    """Check the file's mapping, None being an empty one. Raises PolicyError for what is wrong first."""
    try:
        return PolicyDocument.model_validate(mapping(value))
    except ValidationError as error:
        raise PolicyError(_line(error.errors(include_url=False)[0])) from None


def mistakes(value: object) -> list[str]:
    """Everything that is wrong with the keys and types of the file's mapping, a line each."""
    try:
        PolicyDocument.model_validate(mapping(value))
    except ValidationError as error:
        return [_line(one) for one in error.errors(include_url=False)]
    return []


def json_schema() -> dict[str, Any]:
    """The file's JSON Schema, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyDocument.model_json_schema()}


def _line(error: ErrorDetails) -> str:
    """A mistake in one line: where, what, and what would be right."""
    loc, given, kind = [part for part in error["loc"] if part != "[key]"], error["input"], error["type"]
    if kind == "extra_forbidden":
        place, node = _located(loc[:-1])
        if isinstance(loc[-1], str):
            return _at(place, f"unknown key {loc[-1]!r}; {suggestion(loc[-1], node['properties'])}")
        return _at(place, f"the key {loc[-1]!r} must be text; quote it")
    place, node = _located(loc)
    if kind == "literal_error":
        return _at(place, f"{given!r} is not known; {suggestion(str(given), node['enum'])}")
    if kind == "union_tag_not_found":
        # Without the value: there may be a password in it.
        return _at(place, "it must be a mapping with a kind, for example kind: http")
    if kind == "missing":
        return _at(place, "it is missing")
    if kind in ("model_type", "dict_type"):
        return _at(place, f"{given!r} must be a mapping")
    if kind in ("greater_than", "int_type"):
        return _at(place, f"{given!r} must be a whole number above 0")
    if error["loc"][-1:] == ("[key]",) and not isinstance(given, str):
        place = place[:-1]
    return _at(place, error["msg"].removeprefix("Value error, "))


def _at(place: list[int | str], problem: str) -> str:
    return f"policy, {'.'.join(map(str, place)) or 'top'}: {problem}"


def _located(loc: list[int | str]) -> tuple[list[int | str], dict[str, Any]]:
    """The place in the file, and the part of the JSON Schema that describes it, {} where nothing does.

    Where there are alternatives, `loc` also has the one that was taken, which is no part of the file.
    """
    whole = PolicyDocument.model_json_schema()
    node, place = whole, []
    for part in loc:
        if "oneOf" in node:
            node = _alternative(node["oneOf"], part, whole)
            continue
        place.append(part)
        below = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = _resolved(below, whole) if isinstance(below, dict) else {}
    return place, node


def _alternative(choices: list[dict[str, Any]], kind: int | str, whole: dict[str, Any]) -> dict[str, Any]:
    """The alternative of this kind, which is the last if none has it as its own."""
    resolved = [_resolved(choice, whole) for choice in choices]
    return next((node for node in resolved if node["properties"]["kind"].get("const") == kind), resolved[-1])


def _resolved(node: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to, and of something that may be null the other."""
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolved(choice, whole)
    if "$ref" in node:
        return dict(whole["$defs"][node["$ref"].rpartition("/")[2]])
    return node
