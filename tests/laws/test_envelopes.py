"""Foreign envelopes: what a database or a service says, and what becomes of it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.codec import decode_change
from schemas.ingest_document import IngestDocument
from schemas.refusal import DEFAULT_LIMITS, Refusal
from schemas.wire import WireChange
from streams.entity import Entity, absorb
from streams.envelopes import envelope_of
from streams.ingest import Dropped, Stamp, Taken, take_foreign
from streams.merge import judge
from streams.policy import parse_policy
from tests.laws.histories import VALUES
from tests.laws.portraits import verdict

COLUMNS = ("name", "note", "size")
UNAVAILABLE = "__debezium_unavailable_value"
DEBEZIUM = IngestDocument(topic="t", format="debezium", entity_type="customer")
EVENTS = IngestDocument(topic="t", format="cloudevents", entity_type="customer")


def take(document: IngestDocument, value: Any, key: Any = None, version: int = 1) -> WireChange:
    """The change that a record becomes."""
    envelope = envelope_of(document)
    assert envelope is not None
    raw_key = None if key is None else json.dumps(key).encode()
    taken = take_foreign(raw_key, json.dumps(value).encode(), envelope, Stamp("erp", version, 1), DEFAULT_LIMITS)
    assert isinstance(taken, Taken)
    return decode_change(taken.value)


def reason(document: IngestDocument, value: Any, key: Any = None) -> str:
    """Why a record is refused."""
    with pytest.raises(Refusal) as refused:
        take(document, value, key)
    return refused.value.reason


def changed(row: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The row after an update of some columns."""
    return st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=2).map(lambda written: {**row, **written})


rows = st.fixed_dictionaries(dict.fromkeys(COLUMNS, VALUES))


@st.composite
def events(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The events of one row in their order, and what the row is at the end; None: it is gone.

    Some databases tell what a row was, some do not, and some leave out large values that did not change.
    """
    told, row, happened = draw(st.booleans()), None, []
    for number in range(draw(st.integers(1, 6))):
        before, row = row, draw(rows) if row is None else draw(st.none() | changed(row))
        op = "d" if row is None else draw(st.sampled_from("cr")) if before is None else "u"
        after = dict(row) if row is not None else None
        for name in COLUMNS if op == "u" else ():
            if canonical((row or {})[name]) == canonical((before or {})[name]) and draw(st.booleans()):
                after = {**(after or {}), name: UNAVAILABLE}
        event = {"before": before if told else None, "after": after, "op": op, "source": {"ts_ms": 5_000 * number}}
        happened.append({"schema": {}, "payload": event} if draw(st.booleans()) else event)
    return happened, row


@given(events(), st.randoms(use_true_random=False))
def test_a_table_that_is_followed_is_the_table(history: Any, random: Any) -> None:
    """From whatever events, in whatever order they arrive: the golden record is the row, or there is none."""
    happened, row = history
    changes = [take(DEBEZIUM, event, {"id": 7}, number) for number, event in enumerate(happened, 1)]
    random.shuffle(changes)
    entity, policy = Entity(), parse_policy({}).of("customer")
    for change in changes:
        absorb(entity, change)
    exists, fields = verdict(entity, judge(entity, policy), policy)[:2]
    assert exists is (row is not None)
    if row is not None:
        held = {name: canonical(value) for name, value in row.items() if value is not None}
        assert {name: value for name, (value, _) in fields.items()} == held


@pytest.mark.parametrize(
    ("document", "key", "entity"),
    [
        (DEBEZIUM, {"id": 7}, "customer:7"),
        (DEBEZIUM, {"schema": {}, "payload": {"id": "x"}}, "customer:x"),
        (DEBEZIUM, {"site": 1, "no": "a"}, 'customer:[1,"a"]'),
        (DEBEZIUM.model_copy(update={"entity_type": None}), {"id": 7}, "client:7"),
        (DEBEZIUM.model_copy(update={"id": ["no"]}), {"id": 7}, "customer:42"),
        (DEBEZIUM.model_copy(update={"id": ["no"]}), None, "customer:42"),
    ],
)
def test_which_entity_a_row_is(document: IngestDocument, key: Any, entity: str) -> None:
    """The table or what the file says, and the primary key or the columns that the file names."""
    event = {"op": "c", "before": None, "after": {"id": 7, "no": 42}, "source": {"table": "client"}, "ts_ms": 9}
    change = take(document, event, key)
    assert (change.key, change.occurred_at, change.op) == (entity, 9, "create")


def test_an_update_says_what_it_replaced() -> None:
    """Only the columns that changed are written, with what was there before as evidence."""
    event = {"op": "u", "before": {"a": 1, "b": 2}, "after": {"a": 1, "b": 3}, "source": {"ts_ms": 4}, "ts_ms": 9}
    change = take(DEBEZIUM, event, {"id": 7})
    assert (change.fields, change.before, change.occurred_at) == ({"b": "3"}, {"b": "2"}, 4)


def test_a_tombstone_is_no_change() -> None:
    """What Debezium sends after a delete, for compaction, adds nothing to the delete."""
    envelope = envelope_of(DEBEZIUM)
    assert envelope is not None
    assert take_foreign(b"{}", None, envelope, Stamp("erp", 1, 1), DEFAULT_LIMITS) is Dropped.TOMBSTONE


@pytest.mark.parametrize(
    ("value", "key", "why"),
    [
        (7, {"id": 7}, "bad_shape"),
        ({"op": "t", "ts_ms": 1}, {"id": 7}, "bad_op"),
        ({"op": "c", "after": None, "ts_ms": 1}, {"id": 7}, "bad_shape"),
        ({"op": "c", "after": [1], "ts_ms": 1}, {"id": 7}, "bad_shape"),
        ({"op": "c", "after": {}, "ts_ms": 1}, None, "null_key"),
        ({"op": "c", "after": {}, "ts_ms": 1}, {"id": None}, "bad_entity_id"),
        ({"op": "c", "after": {}, "ts_ms": "soon"}, {"id": 7}, "bad_time"),
    ],
)
def test_what_is_no_event_of_debezium(value: Any, key: Any, why: str) -> None:
    """It is refused, with a reason of the table."""
    assert reason(DEBEZIUM, value, key) == why


EVENT = {
    "specversion": "1.0", "id": "A-1", "source": "/erp", "type": "com.example.customer.updated", "subject": "42",
    "time": "1970-01-01T00:00:09Z", "data": {"tier": "gold"},
}  # fmt: skip


@given(
    st.sampled_from(["created", "Updated", "changed", "snapshot"]), st.dictionaries(st.sampled_from(COLUMNS), VALUES)
)
def test_a_cloud_event_is_what_its_last_word_says(word: str, data: dict[str, Any]) -> None:
    """With its data as fields, its own time, and an id that is the same whenever it comes."""
    change = take(EVENTS, {**EVENT, "type": f"x.{word}", "data": data})
    op = {"created": "create", "snapshot": "snapshot"}.get(word, "update")
    assert (change.key, change.op, change.occurred_at, change.event_id) == ("customer:42", op, 9_000, '["/erp","A-1"]')
    assert change.fields == {name: canonical(value) for name, value in data.items()}


def test_a_cloud_event_may_name_the_whole_key() -> None:
    """Where the file says no type, and a delete needs no data."""
    document = IngestDocument(topic="t", format="cloudevents")
    change = take(document, {**EVENT, "subject": "order:7:8", "type": "deleted"})
    assert (change.key, change.op, change.fields) == ("order:7:8", "delete", {})


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"specversion": "0.3"}, "bad_shape"),
        ({"data": "text"}, "bad_shape"),
        ({"type": "com.example.customer.seen"}, "bad_op"),
        ({"subject": None}, "bad_entity_id"),
        ({"id": ""}, "bad_event_id"),
        ({"time": "yesterday"}, "bad_time"),
    ],
)
def test_what_is_no_cloud_event(changed: dict[str, Any], why: str) -> None:
    """It is refused, with a reason of the table."""
    assert reason(EVENTS, {**EVENT, **changed}) == why


@given(st.sampled_from([DEBEZIUM, EVENTS]), st.binary(max_size=30) | st.none(), st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(document: IngestDocument, key: bytes | None, value: bytes) -> None:
    """Whatever comes, nothing but a refusal comes of it."""
    envelope = envelope_of(document)
    assert envelope is not None
    with suppress(Refusal):
        take_foreign(key, value, envelope, Stamp("erp", 1, 1), DEFAULT_LIMITS)
