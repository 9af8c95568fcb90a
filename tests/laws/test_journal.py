"""Laws of the change log's rows: any record has one, what is refused is told apart, and nothing personal is in it."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from schemas.change import Change
from schemas.codec import decode_conflict, encode_change
from schemas.conflict import Conflict
from streams.batch import BatchResolver
from streams.history import history
from streams.journal import (
    DAY_MS,
    HOUR_MS,
    NAME_BYTES,
    REFUSED,
    UNREADABLE,
    Count,
    Hour,
    change_row,
    conflict_row,
    indexed,
    per,
    tally,
)
from streams.masking import masked
from streams.policy import Policy, parse_policy

POLICY = parse_policy(
    {
        "sources": {"crm": {}, "web": {}},
        "entities": {"customer": {"fields": {"email": {"personal": True}, "note": {"personal": True}}}},
    }
)
OPEN = parse_policy({"sources": {"crm": {}, "web": {}}})
KEY = b"k" * 16
NOW_MS = 1_760_000_000_000


class Record(NamedTuple):
    """One record of a topic."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def record(change: dict[str, Any], offset: int = 0) -> Record:
    """The record of a change as a producer sends it."""
    made = Change.fill({"entity_type": "customer", "entity_id": "1", "op": "update", **change}, 1, NOW_MS)
    return Record(offset, NOW_MS, made.key.encode(), encode_change(made))


CHANGES = st.builds(
    lambda **said: record(said),
    source=st.sampled_from(["crm", "web", "nobody", "steward:ana"]),
    occurred_at=st.sampled_from([NOW_MS, NOW_MS - 10, NOW_MS + 3_600_000]),
    fields=st.dictionaries(
        st.sampled_from(["email", "note", "tier"]), st.sampled_from([None, "secret-a", ["secret-b"], 1.0])
    ),
)
ANYTHING = st.builds(
    Record,
    st.integers(0, 9),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.binary(max_size=8) | st.sampled_from([b"customer:1", b"customer:2"]),
    st.none() | st.binary(max_size=40) | CHANGES.map(lambda one: one.value),
)


@given(given_record=CHANGES | ANYTHING)
def test_a_row_is_refused_where_the_worker_refuses_by_the_record_alone(given_record: Record) -> None:
    """Whatever the bytes: one row, whose kind says REFUSED exactly where a worker with an empty state refuses."""
    row = change_row("t", 3, given_record, POLICY, KEY)
    refused = BatchResolver(POLICY, "t").resolve_batch(3, [given_record], {}).dead_letters
    assert (row.kind == REFUSED) == bool(refused)
    assert (row.topic, row.partition, row.offset) == ("t", 3, given_record.offset)
    if refused:
        assert f'"reason":"{refused[0].reason}"' in row.body


@given(given_record=ANYTHING)
def test_any_record_of_conflicts_has_a_row(given_record: Record) -> None:
    """What is no conflict is one that cannot be read."""
    assert conflict_row("t", 0, given_record, POLICY, KEY).kind == UNREADABLE


@given(given_record=CHANGES, key=st.sampled_from([None, KEY]))
def test_personal_values_are_masked(given_record: Record, key: bytes | None) -> None:
    """Of a personal field only what stands for its value is in a row; of the others the value is."""
    body = change_row("t", 0, given_record, POLICY, key).body
    plain = change_row("t", 0, given_record, parse_policy({}), key).body
    if "secret" in plain and "tier" not in plain:
        assert "secret" not in body
    if '"tier":1.0' in plain:
        assert '"tier":1.0' in body


def conflicting(field: str) -> list[Record]:
    """Two changes of one entity that do not know each other."""
    return [
        record({"source": source, "fields": {field: f"secret-{source}"}}, offset)
        for offset, source in enumerate(("crm", "web"))
    ]


def conflict_of(records: list[Record], policy: Policy) -> tuple[Conflict, Record]:
    """The conflict of two changes under a policy, and its record."""
    [(key, body)] = BatchResolver(policy, "t", masking_key=KEY).resolve_batch(0, records, {}).conflicts
    return decode_conflict(body), Record(0, NOW_MS, key, body)


def test_a_conflict_says_who_is_on_the_other_side() -> None:
    """Its source wrote the change that caused it, its targets are the others; a personal field's values are masked."""
    for field, shown in (("tier", '"secret-crm"'), ("email", masked('"secret-crm"', KEY))):
        conflict, sent = conflict_of(conflicting(field), POLICY)
        row = conflict_row("t", 0, sent, POLICY, KEY)
        assert (row.source, row.targets, row.fields) == ("web", ("crm",), (field,))
        assert (row.kind, row.conflict_id) == (conflict.kind, conflict.conflict_id)
        assert f'"value":{shown}' in row.body and ("secret" in row.body) == (field == "tier")
        # A record from before the field was personal is masked here, and ends as the same row.
        _, before = conflict_of(conflicting(field), OPEN)
        assert conflict_row("t", 0, before, POLICY, KEY).body.count(shown) == row.body.count(shown)


def test_history_tells_what_each_change_did() -> None:
    """A value that moves, a conflict, a change that comes again, one that is refused; and nothing personal."""
    crm, web = conflicting("email")
    again = web._replace(offset=2)
    refused = record({"source": "nobody", "fields": {"tier": 1}}, 3)
    steps = history([crm, web, again, refused], 0, POLICY, "t", KEY)
    assert "'hmac:" in repr(steps[1].conflicts)
    first, second = (masked(f'"secret-{source}"', KEY) for source in ("crm", "web"))
    assert [(step.existed, step.exists) for step in steps] == [(False, True), (True, True), (True, True), (True, True)]
    assert steps[0].moved == {"email": (None, first)}
    assert steps[1].moved == {"email": (first, second)} and steps[1].conflicts[0].field == "email"
    assert (steps[2].moved, steps[2].remarks) == ({}, ["duplicate"])
    assert (steps[3].reason, steps[3].row.kind, steps[3].moved) == ("unknown_source", REFUSED, {})
    assert "secret" not in repr(steps)


@given(records=st.lists(CHANGES, max_size=10))
def test_each_record_is_counted_once_by_kind_and_source(records: list[Record]) -> None:
    """And once under each field that it writes."""
    rows = [change_row("t", 0, one, POLICY, None) for one in records]
    counts = tally(rows)
    for dimension in ("kind", "source"):
        assert sum(count for (_, by, _), count in counts.items() if by == dimension) == len(rows)
    assert sum(count for (_, by, _), count in counts.items() if by == "field") == sum(len(row.fields) for row in rows)


@given(names=st.lists(st.text(max_size=900), min_size=2, max_size=2, unique=True))
def test_names_stay_apart_and_fit(names: list[str]) -> None:
    """Long names are cut to what an index takes, and no two of them become one."""
    cut = [indexed(name * 3) for name in names]
    assert cut[0] != cut[1]
    assert all(len(name.encode()) <= NAME_BYTES for name in cut)


def test_counters_add_up_for_days_hours_and_all_time() -> None:
    """The newest period first, names in order."""
    hours = [Hour(0, "b", 1), Hour(23, "a", 2), Hour(24, "a", 4), Hour(0, "a", 8)]
    assert per(hours, DAY_MS) == [Count(DAY_MS, "a", 4), Count(0, "a", 10), Count(0, "b", 1)]
    assert per(hours, HOUR_MS)[0] == Count(24 * HOUR_MS, "a", 4)
    assert per(hours, None) == [Count(None, "a", 14), Count(None, "b", 1)]
