"""All that contradicts itself in a policy, and what is allowed in it and yet hardly meant."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from schemas.policy_document import PolicyError
from schemas.suggestion import suggestion
from schemas.target_document import HttpDocument, TargetDocument, variables
from streams.policy import EntityPolicy, Policy, Rule, parse_policy

#: These decide by rank alone, so without an order the clocks decide.
RANKED = ("source_priority", "authority")


def contradictions(document: Any, read: Callable[[object], Policy] = parse_policy) -> list[str]:
    """Why a file whose keys and types are right is no policy: a line for each rule that is wrong, with its place.

    read: makes a policy of a mapping; PolicyError with the first mistake.
    """
    found: dict[str, None] = {}
    for part in _parts(document):
        try:
            read(part)
        except PolicyError as error:
            found[str(error)] = None
    return list(found)


def _parts(document: Any) -> Iterator[Any]:
    """The file without its rules, each rule alone, each entity type alone, and the file."""
    given = document if isinstance(document, dict) else {}
    head = {key: value for key, value in given.items() if key != "entities"}
    yield head
    for name, body in (given.get("entities") or {}).items():
        rules = body or {}
        sections = [key for key in ("fields", "field_groups") if isinstance(rules.get(key), dict)]
        alone = {key: value for key, value in rules.items() if key not in sections}
        for section in sections:
            for member, rule in rules[section].items():
                yield {**head, "entities": {name: {**alone, section: {member: rule}}}}
        yield {**head, "entities": {name: rules}}
    yield document


def remarks(policy: Policy) -> list[str]:
    """A line for each rule that does not do what its name says, with its place."""
    found = list(_about(policy.default, ""))
    for name, entity in policy.entities.items():
        found += _about(entity, f"entities.{name}.")
    return found


def _about(entity: EntityPolicy, path: str) -> Iterator[str]:
    rules: dict[str, Rule] = {f"{path}resolver": entity.default}
    rules |= {f"{path}fields.{name}": rule for name, rule in entity.fields.items() if rule.group is None}
    rules |= {f"{path}field_groups.{name}": rule for name, (rule, _) in entity.groups.items()}
    for place, rule in rules.items():
        if rule.resolver.name in RANKED and not rule.ranks:
            yield f"{place}: {rule.resolver.name} has no order, and there is no priority: the latest write wins"
    if entity.on_delete == "source_priority" and not entity.ranks:
        yield f"{path}on_delete: source_priority, and there is no priority: the latest write wins"


def target_remarks(targets: Mapping[str, TargetDocument], policy: Policy, environment: Container[str]) -> list[str]:
    """The same of targets. environment: names of the variables that are set."""
    found: list[str] = []
    for name, said in targets.items():
        for key, variable in variables(said).items():
            if variable not in environment:
                found.append(f"targets.{name}.{key}: the environment variable {variable} is not set here")
        for entity_type in said.entities or ():
            if policy.entities and entity_type not in policy.entities:
                meant = suggestion(entity_type, policy.entities)
                found.append(f"targets.{name}.entities: there are no rules for {entity_type!r}; {meant}")
        if isinstance(said, HttpDocument) and said.url.startswith("http://") and said.secret_env is None:
            found.append(f"targets.{name}.url: neither https nor signed: anybody on the way can read and alter records")
    return found
