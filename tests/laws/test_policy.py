"""The policy file: what it means, and that every mistake gets one line with its place and what would be right."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml

from schemas.resolver_document import PARAMETERS, ResolverName
from streams.policy import PolicyError, parse_policy
from streams.resolvers import RESOLVERS

SPEC_EXAMPLE = """
priority: [crm, billing, web]
resolver: last_update_wins
convergence_window: 1s
max_future: 60s
sources: {crm: {}, billing: {}, web: {}}
entities:
  customer:
    resolver: last_update_wins
    on_delete: update_wins
    fields:
      tier:    {resolver: source_priority, order: [billing, crm]}
      tags:    {resolver: union}
      email:   {resolver: manual}
      balance: {resolver: sum}
    field_groups:
      postal: [street, city, zip]
      phone:  {fields: [phone, phone_kind], resolver: source_priority, order: [crm]}
view: {ttl: null}
"""


def test_the_example_of_the_contract_is_read() -> None:
    """SPEC section 3's policy file parses to what it says."""
    policy = parse_policy(yaml.safe_load(SPEC_EXAMPLE))
    customer = policy.of("customer")
    assert policy.sources == {"crm", "billing", "web"}
    assert (policy.max_future_ms, customer.window_ms, policy.view_ttl_ms) == (60_000, 1_000, None)
    assert customer.rule("tier").resolver.name == "source_priority"
    assert [customer.rule("tier").ranks.of(source) for source in ("billing", "crm", "web", "steward:ana")] == [
        0,
        1,
        2,
        -1,
    ]
    assert (customer.rule("phone_kind").group, customer.rule("city").group) == ("phone", "postal")
    assert customer.rule("anything").resolver.name == "last_update_wins"
    assert policy.of("order").on_delete == "update_wins"


def test_limits_are_those_of_the_contract_unless_given() -> None:
    """A limit that is not given has its default."""
    limits = parse_policy({"limits": {"depth": 8}}).limits
    assert (limits.depth, limits.change_bytes, limits.fields) == (8, 262_144, 1_000)


def test_the_version_follows_what_the_file_says() -> None:
    """The same meaning has the same version, in whatever order it is written; another has another."""
    one = parse_policy({"priority": ["a", "b"], "resolver": "max"})
    assert one.version == parse_policy({"resolver": "max", "priority": ["a", "b"]}).version
    assert one.version != parse_policy({"resolver": "max", "priority": ["b", "a"]}).version


def test_sources_may_say_their_place_themselves() -> None:
    """A priority at each source is the list in their order, and a source may have a clock guard of its own."""
    policy = parse_policy({"sources": {"web": {"priority": 3}, "crm": {"priority": 1, "max_future": "5s"}, "app": {}}})
    assert [policy.default.ranks.of(source) for source in ("crm", "web", "app")] == [0, 1, 2]
    assert (policy.max_future_ms_of, policy.max_future_ms) == ({"crm": 5_000}, 60_000)


MISTAKES: dict[str, tuple[Any, str]] = {
    "unknown key": ({"resolvr": "max"}, "policy, top: unknown key 'resolvr'; did you mean 'resolver'?"),
    "unknown resolver": (
        {"resolver": "last_updat_wins"},
        "policy, resolver: 'last_updat_wins' is not known; did you mean 'last_update_wins'?",
    ),
    "field of unknown resolver": (
        {"entities": {"customer": {"fields": {"tier": {"resolver": "best"}}}}},
        "policy, entities.customer.fields.tier.resolver: 'best' is not known",
    ),
    "on_delete": ({"entities": {"customer": {"on_delete": "never"}}}, "policy, entities.customer.on_delete: 'never'"),
    "duration": ({"convergence_window": "1 week"}, "policy, convergence_window: '1 week' must be a time such as"),
    "negative duration": ({"max_future": -1}, "policy, max_future: -1 must be a time such as"),
    "entity type": ({"entities": {"Customer": {}}}, "policy, entities.Customer: an entity type is lower case"),
    "order of unknown source": (
        {"sources": {"crm": {}}, "entities": {"customer": {"fields": {"tier": {"order": ["crn"]}}}}},
        "policy, entities.customer.fields.tier.order: unknown source 'crn'; did you mean 'crm'?",
    ),
    "named twice": ({"priority": ["a", "a"]}, "policy, priority: ['a', 'a'] names something twice"),
    "group that computes": (
        {"entities": {"customer": {"field_groups": {"g": {"fields": ["a"], "resolver": "union"}}}}},
        "policy, entities.customer.field_groups.g: 'union' does not pick one write",
    ),
    "authority for a group": (
        {"entities": {"customer": {"field_groups": {"g": {"fields": ["a"], "resolver": "authority"}}}}},
        "'authority' does not pick one write",
    ),
    "field and group": (
        {"entities": {"customer": {"fields": {"a": {}}, "field_groups": {"g": ["a"]}}}},
        "policy, entities.customer.field_groups.g: the field 'a' has an entry under fields",
    ),
    "two groups": (
        {"entities": {"customer": {"field_groups": {"g": ["a"], "h": ["a"]}}}},
        "policy, entities.customer.field_groups.h: the field 'a' is in another group",
    ),
    "group in a group": (
        {"entities": {"customer": {"field_groups": {"g": ["h"], "h": ["g"]}}}},
        "policy, entities.customer.field_groups.g: 'h' is a group itself; groups have fields, name these here",
    ),
    "unknown type": (
        {"entities": {"customer": {"fields": {"a": {"type": "int"}}}}},
        "policy, entities.customer.fields.a.type: 'int' is not known; did you mean 'integer'?",
    ),
    "siblings": (
        {"entities": {"customer": {"max_siblings": 0}}},
        "policy, entities.customer.max_siblings: 0 must be a whole number above 0",
    ),
    "limit": ({"limits": {"depth": 0}}, "policy, limits.depth: 0 must be a whole number above 0"),
    "unknown limit": ({"limits": {"bytes": 9}}, "policy, limits: unknown key 'bytes'"),
    "priority in two places": (
        {"priority": ["crm"], "sources": {"crm": {"priority": 1}}},
        "policy, priority: sources have a priority of their own; say it in one place only",
    ),
    "two of one priority": (
        {"sources": {"crm": {"priority": 1}, "web": {"priority": 1}}},
        "policy, sources.web.priority: 1 is that of 'crm'; each has its own",
    ),
    "no mapping": ([1], "policy, top: [1] must be a mapping"),
    "key that is no text": ({"sources": {1: {}}}, "policy, sources: the key 1 must be text; quote it"),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_is_named_with_its_place(mistake: str) -> None:
    """Each mistake is refused in one line that names the place, the value and what would be right."""
    document, message = MISTAKES[mistake]
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_names_every_resolver() -> None:
    """What may be written is what there is."""
    assert set(get_args(ResolverName)) == {*RESOLVERS, *PARAMETERS}
