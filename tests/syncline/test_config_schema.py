"""The JSON Schema that editors get says what the models say: no file is good for the one and bad for the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas.policy_document import mistakes
from tests.laws.test_policy import SPEC_EXAMPLE
from tests.syncline.test_cli import invoke

GOOD = {
    "nothing": "{}",
    "the contract's example": SPEC_EXAMPLE,
    "resolvers with parameters": """
entities:
  order:
    fields:
      status: {resolver: forward_only, states: [new, paid, shipped]}
      on_hand: {resolver: stock, floor: 0}
      phone: {resolver: trust, scores: {crm: 0.9, web: 0.5}, half_life: {web: 30d}}
""",
    "types and groups": """
entities:
  customer:
    max_siblings: 4
    fields: {vip: {type: boolean, personal: true}, tags: {resolver: keep_siblings}}
    field_groups: {postal: [street, city], phone: {fields: [phone, kind], resolver: source_priority, order: [crm]}}
""",
    "where changes arrive": "sources: {crm: {topic: crm.changes}, shop: {redis_stream: shop}}",
    "a target": "targets: {crm: {kind: http, url: 'http://127.0.0.1:1/records', delivery: {mode: realtime}}}",
}
BAD = {
    "an unknown key": "resolvr: max",
    "an unknown resolver": "resolver: best",
    "an unknown key of a field": "entities: {customer: {fields: {tier: {resolvr: max}}}}",
    "an unknown type": "entities: {customer: {fields: {tier: {type: colour}}}}",
    "an unknown rule of deletion": "entities: {customer: {on_delete: maybe}}",
    "a number for a list": "priority: 3",
    "a list for a mapping": "entities: [customer]",
    "a target of no kind": "targets: {crm: {url: 'http://127.0.0.1:1/records'}}",
    "no siblings at all": "entities: {customer: {max_siblings: 0}}",
}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """What `config schema` prints."""
    code, out, _ = invoke("config", "schema")
    assert code == 0
    described: dict[str, Any] = json.loads(out)
    Draft202012Validator.check_schema(described)
    return Draft202012Validator(described)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_a_good_file_is_good_for_both(schema: Draft202012Validator, text: str) -> None:
    """What the models accept, an editor does not mark."""
    document = yaml.safe_load(text)
    assert list(mistakes(document)) == []
    assert [error.message for error in schema.iter_errors(document)] == []


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_bad_for_both(schema: Draft202012Validator, text: str) -> None:
    """What the models refuse for its form, an editor marks."""
    document = yaml.safe_load(text)
    assert list(mistakes(document)) != []
    assert list(schema.iter_errors(document)) != []
