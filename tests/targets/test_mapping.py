"""Which records a target gets, and as what: section `targets` of syncline.yaml."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.policy_document import PolicyError, mistakes, read_document
from schemas.record import Position
from schemas.target_document import TargetDocument
from streams.delivery import Delivery
from streams.policy import parse_policy
from streams.target_mapping import TargetMapping
from tests.targets.deliveries import TOPIC, golden

POSITION = Position(topic=TOPIC, partition=3, offset=7)
ANA = {"name": "Ana", "tier": "gold", "age": 1, "vip": True}


def section(text: str) -> TargetDocument:
    """The target `crm` of a section in which only these lines differ."""
    said = {"kind": "json_lines", "path": "out.jsonl", **(yaml.safe_load(text) or {})}
    return read_document({"targets": {"crm": said}}).targets["crm"]


def delivered(text: str, fields: dict[str, Any] | None, key: str = "customer:1") -> Delivery | None:
    """What becomes of a record with these fields."""
    record = None if fields is None else golden(key, 7, fields)
    return TargetMapping.of("crm", section(text)).delivery(key, record, POSITION)


def fields_of(text: str, fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """The fields that the target gets of a customer."""
    made = delivered(text, fields)
    assert made is not None
    return made.fields


def test_without_entities_a_target_gets_everything_as_it_is() -> None:
    """Any type, all fields, and deletes."""
    assert fields_of("", ANA) == ANA
    made = delivered("", None, "order:9:x")
    assert made is not None
    assert (made.fields, made.entity_type, made.entity_id) == (None, "order", "9:x")


def test_other_entity_types_are_not_delivered() -> None:
    """Neither their records nor their deletes."""
    assert delivered("entities: {order: {}}", ANA) is None
    assert delivered("entities: {order: {}}", None) is None
    assert fields_of("entities: {customer: }", ANA) == ANA


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ("{tier: gold}", True),
        ("{tier: [silver, gold]}", True),
        ("{tier: silver}", False),
        ("{tier: gold, name: Eve}", False),
        ("{age: 1}", True),
        ("{age: 1.0}", False),
        ("{age: true}", False),
        ("{vip: true}", True),
        ("{tier: {none_of: [free, gold]}}", False),
        ("{tier: {none_of: [free]}}", True),
        ("{fax: null}", True),
        ("{name: null}", False),
        ("{fax: {none_of: [null]}}", False),
        ("{name: {none_of: [null]}}", True),
        ("{fax: {none_of: [1]}}", True),
    ],
)
def test_conditions(where: str, meets: bool) -> None:
    """Values are compared with their types; what does not meet all conditions is deleted at the target."""
    assert fields_of(f"entities: {{customer: {{where: {where}}}}}", ANA) == (ANA if meets else None)


def test_select_rename_and_constants() -> None:
    """Of the fields named those that are there, by their names at the target, and the constants."""
    mapping = "entities: {customer: {fields: [name, tier, fax], rename: {name: full_name}, constants: {by: syncline}}}"
    assert fields_of(mapping, ANA) == {"full_name": "Ana", "tier": "gold", "by": "syncline"}


def test_a_renamed_field_comes_before_one_of_that_name() -> None:
    """Two fields never meet under one name: a constant, then what is renamed to it, then what is called so."""
    assert fields_of("entities: {customer: {rename: {name: tier}}}", ANA) == {"tier": "Ana", "age": 1, "vip": True}
    assert fields_of("entities: {customer: {constants: {tier: x}}}", ANA) == {**ANA, "tier": "x"}
    assert fields_of("entities: {customer: {rename: {name: tier, tier: name}}}", ANA) == {
        **ANA,
        "tier": "Ana",
        "name": "gold",
    }


def test_provenance_and_conflicts_follow_their_fields() -> None:
    """A renamed field keeps where it comes from, and one that is left out leaves nothing behind."""
    record = golden("customer:1", 7, ANA).model_copy(update={"contested": ["name", "tier"], "pending": ["tier"]})
    mapping = TargetMapping.of("crm", section("entities: {customer: {fields: [name], rename: {name: who}}}"))
    made = mapping.delivery("customer:1", record, POSITION)
    assert made is not None and made.record is not None
    assert (list(made.record.provenance), made.record.contested, made.record.pending) == (["who"], ["who"], [])


@given(fields=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(-5, 5), max_size=5))
def test_a_mapping_is_a_function_of_record_and_place(fields: dict[str, Any]) -> None:
    """The same record is the same delivery with the same idempotency key, whoever makes it."""
    text = "entities: {customer: {where: {a: {none_of: [0]}}, rename: {b: c}}}"
    first, second = delivered(text, fields), delivered(text, fields)
    assert first is not None and second is not None
    assert first == second
    assert first.idempotency_key == second.idempotency_key


def test_idempotency_keys_differ_with_what_is_delivered_where() -> None:
    """Another target, entity, place or generation is another delivery."""
    places = list(itertools.product(("crm", "erp"), ("a:1", "a:2"), (1, 2), (1, 2)))
    keys = {
        Delivery(target, key, None, Position(topic=TOPIC, partition=0, offset=offset), generation).idempotency_key
        for target, key, offset, generation in places
    }
    assert len(keys) == len(places)


def test_a_patch_has_what_changed() -> None:
    """Changed fields with their values, null for one that is gone; all of them where that is not known."""
    record = golden("a:1", 7, {"x": 1, "y": 2})
    assert Delivery("crm", "a:1", record, POSITION, changed=frozenset({"y", "z"})).patch == {"y": 2, "z": None}
    assert Delivery("crm", "a:1", record, POSITION).patch == {"x": 1, "y": 2}
    assert Delivery("crm", "a:1", None, POSITION, changed=frozenset({"y"})).patch is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{kind: http, url: 'https://host', metod: PUT}", "targets.crm: unknown key 'metod'; did you mean 'method'?"),
        ("{kind: http}", "targets.crm.url: it is missing"),
        ("{kind: http, url: 'ftp://host'}", "targets.crm.url: it must be a URL such as https://"),
        ("{kind: http, url: 'https://ana:tell-nobody@host'}", "name its environment variable by secret_env"),
        ("{kind: postgresql, url: 'postgresql://ana:tell-nobody@host/db', table: t}", "by secret_env"),
        ("{kind: http, url: 'https://host', secret_env: 'tell-nobody'}", "targets.crm.secret_env: it must name an env"),
        ("{kind: http, url: 'https://host', secret_env: SYNCLINE_CRM}", "give the variable another name"),
        ("{kind: http, url: 'https://host', headers_env: {Content-Type: CRM}}", "headers_env.Content-Type: it must be"),
        ("{kind: http, url: 'https://host', method: PATCH}", "targets.crm.method: 'PATCH' is not known"),
        ("{kind: postgresql, url: 'postgresql://h/d', table: a.b.c}", "'a.b.c' must be the name of a table"),
        ("{kind: postgresql, url: 'postgresql://h/d', table: t, columns: {a: txt}}", "did you mean 'text'?"),
        ("{kind: kafka, kafka: broker, topic: t}", "targets.crm.kafka: 'broker' is no host:port"),
        ("{kind: kafka, kafka: 'b:1', topic: 'a b'}", "targets.crm.topic: 'a b' must be a topic's name"),
        ("{kind: acme, setings: {}}", "targets.crm: unknown key 'setings'; did you mean 'settings'?"),
        ("tell-nobody", "targets.crm: it must be a mapping with a kind"),
        ("{path: tell-nobody}", "targets.crm: it must be a mapping with a kind"),
        ("{kind: json_lines, path: p, timeout: 0}", "targets.crm.timeout: 0 must be a whole number above 0"),
        ("{kind: json_lines, path: p, entities: {customer: {where: {a: {oneof: []}}}}}", "did you mean 'one_of'?"),
        ("{kind: json_lines, path: p, entities: {customer: {where: {a: {}}}}}", "needs one_of or none_of"),
        ("{kind: json_lines, path: p, entities: {customer: {fields: [a], rename: {b: c}}}}", "'b' is not among"),
        ("{kind: json_lines, path: p, entities: {customer: {rename: {a: x, b: x}}}}", "two fields are named 'x'"),
        ("{kind: json_lines, path: p, entities: {customer: {constants: {a: 2026-01-01}}}}", "a value is a date"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, problem: str) -> None:
    """Each in one line that says what would be right, and never shows what may be a secret."""
    found = mistakes({"targets": {"crm": yaml.safe_load(text)}})
    assert len(found) == 1
    assert problem in found[0]
    assert "tell-nobody" not in found[0]


def test_a_section_that_is_no_mapping() -> None:
    """What it says instead is not shown."""
    with pytest.raises(PolicyError, match=r"^policy, targets: it must be a mapping of names to mappings$"):
        read_document({"targets": "redis://ana:tell-nobody@host"})


def test_targets_are_no_part_of_the_policy() -> None:
    """Where records go does not change who wins: the version stays."""
    plain = {"priority": ["crm"]}
    other = {**plain, "targets": {"crm": {"kind": "json_lines", "path": "out.jsonl"}}}
    assert parse_policy(plain).version == parse_policy(other).version
