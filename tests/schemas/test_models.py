"""The change in its JSON form (SPEC section 2)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.change import Change, parse_change_line
from schemas.golden_record import GoldenRecord
from schemas.refusal import Refusal
from schemas.rfc3339 import parse_time
from tests.schemas.examples import plain


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"version": 0}, "bad_version"),
        ({"version": -1}, "bad_version"),
        ({"version": True}, "bad_version"),
        ({"version": "1"}, "bad_version"),
        ({"version": 1.0}, "bad_version"),
        ({"version": 2**63}, "bad_version"),
        ({"seen": {"crm": True}}, "bad_version"),
        ({"seen": {"crm": -1}}, "bad_version"),
        ({"seen": {"crm": "1"}}, "bad_version"),
        ({"seen": []}, "bad_version"),
        ({"seen": {"\ud800": 1}}, "not_utf8"),
        ({"occurred_at": True}, "bad_time"),
        ({"occurred_at": 1.5}, "bad_time"),
        ({"occurred_at": 2**63}, "bad_time"),
        ({"occurred_at": "yesterday"}, "bad_time"),
        ({"occurred_at": "2026-01-31T12:00:00"}, "bad_time"),
        ({"op": "upsert"}, "bad_op"),
        ({"op": "u"}, "bad_op"),
        ({"op": None}, "bad_op"),
        ({"op": "delete"}, "bad_op"),
        ({"entity_type": "Customer"}, "bad_entity_type"),
        ({"entity_type": "a:b"}, "bad_entity_type"),
        ({"entity_type": 1}, "bad_shape"),
        ({"entity_id": ""}, "bad_entity_id"),
        ({"entity_id": "é" * 129}, "bad_entity_id"),
        ({"entity_id": "\ud800"}, "not_utf8"),
        ({"entity_id": 42}, "bad_shape"),
        ({"event_id": ""}, "bad_event_id"),
        ({"source": ""}, "bad_source"),
        ({"fields": {"": 1}}, "bad_field_name"),
        ({"fields": {"*": 1}}, "bad_field_name"),
        ({"before": {"*": 1}}, "bad_field_name"),
        ({"fields": {"\ud800": 1}}, "not_utf8"),
        ({"fields": {"f": float("nan")}}, "bad_value"),
        ({"fields": {"f": [float("inf")]}}, "bad_value"),
        ({"before": {"f": float("-inf")}}, "bad_value"),
        ({"fields": {"f": 2**63}}, "bad_value"),
        ({"fields": {"f": "\ud800"}}, "bad_value"),
        ({"fields": {"f": (1, 2)}}, "bad_value"),
        ({"fields": {"f": b"x"}}, "bad_value"),
        ({"fields": {"f": {1: 2}}}, "bad_value"),
        ({"fields": None}, "bad_shape"),
        ({"fields": [1]}, "bad_shape"),
        ({"colour": "red"}, "bad_shape"),
    ],
)
def test_what_is_no_change_is_refused(changed: dict[str, Any], reason: str) -> None:
    """A change that breaks a rule is refused with its reason, in one line; nothing is converted to fit."""
    with pytest.raises(Refusal) as caught:
        Change.fill(plain(**changed), 1, 1)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        Change(**plain(**changed))


@pytest.mark.parametrize("name", ["entity_type", "entity_id", "op", "source", "fields"])
def test_what_must_be_there(name: str) -> None:
    """A change that lacks a part which nobody can supply is refused, and the message names the part."""
    line = plain()
    del line[name]
    with pytest.raises(Refusal, match=name):
        Change.fill(line, 1, 1)


def test_publishing_fills_in_what_may_be_missing() -> None:
    """version, occurred_at and event_id may be missing or null; what is there is kept."""
    line = {"entity_type": "customer", "entity_id": "42", "op": "delete", "source": "crm"}
    change = Change.fill(line, 9, 1234)
    assert (change.version, change.occurred_at, change.event_id) == (9, 1234, "customer:42@crm@9")
    assert (change.fields, change.seen, change.before) == ({}, None, None)
    empty = dict.fromkeys(("version", "occurred_at", "event_id"))
    assert Change.fill(line | empty, 9, 1234) == change
    kept = Change.fill(plain(), 9, 1234)
    assert (kept.version, kept.occurred_at, kept.event_id) == (7, 1_790_000_000_000, "e-1")
    assert kept.key == "customer:42"


def test_a_line_becomes_a_change() -> None:
    """One line of publish, parsed and filled, is the change with every digit of its values."""
    line = (
        b'{"entity_type":"customer","entity_id":"42","op":"create","source":"crm","version":1,'
        b'"occurred_at":"2026-01-31T13:00:00.1239+01:00","fields":{"a":9007199254740993,"b":1.0,"c":true,"d":1}}'
    )
    change = Change.fill(parse_change_line(line), 5, 5)
    assert change.occurred_at == 1_769_860_800_123
    assert change.wire().fields == {"a": "9007199254740993", "b": "1.0", "c": "true", "d": "1"}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.001z", 1),
        ("1970-01-01 00:00:00.1-00:00", 100),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2026-01-31T12:00:00.123999999999+00:00", 1_769_860_800_123),
        ("2026-01-31T12:00:00-05:30", 1_769_880_600_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_500),
        ("2017-01-01T00:59:60+01:00", 1_483_228_800_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_times(text: str, milliseconds: int) -> None:
    """RFC 3339 with a zone is cut, never rounded, to the ms, before 1970 as after."""
    assert parse_time(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00",
        "2026-01-31",
        "2026-02-30T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T12:00Z",
        "20260131T120000Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00Z\n",
        "٢٠٢٦-01-31T12:00:00Z",
        "",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """A time without a zone, of another format, or of no calendar is refused, and never guessed."""
    with pytest.raises(ValueError, match=r"write it as|zone|calendar|hours|leap"):
        parse_time(text)


def test_models_are_frozen_and_closed() -> None:
    """A record cannot be changed once made, and an error does not repeat what was put in."""
    change = Change(**plain())
    with pytest.raises(ValidationError):
        change.version = 8  # type: ignore[misc]
    with pytest.raises(ValidationError) as caught:
        GoldenRecord.model_validate({"fields": "secret"})
    assert "secret" not in str(caught.value)
