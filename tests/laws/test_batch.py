"""A batch in, effects out: what does not depend on how a history is cut, and what becomes of bad input."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.change import Change
from schemas.codec import (
    decode_conflict,
    decode_record,
    decode_state,
    encode_change,
    encode_conflict,
    encode_record,
    encode_state,
)
from streams.batch import BatchResolver
from streams.effects import BatchEffects
from streams.entity_codec import decode_entity
from streams.export import export_line, line_of_record, row_of_state
from streams.fold import Replay
from streams.policy import parse_policy
from tests.laws.histories import KEY, histories, policies

TOPIC = "syncline.changes"
LATE = 1_000_000


@dataclass(frozen=True)
class Record:
    """One record of the topic `changes`."""

    offset: int
    value: bytes | None
    key: bytes | None = KEY.encode()
    timestamp: int = LATE


def log_of(history: list[dict[str, Any]]) -> list[Record]:
    return [Record(offset, encode_change(Change(**change))) for offset, change in enumerate(history)]


def change(**parts: Any) -> dict[str, Any]:
    form = {"event_id": "e", "entity_type": "customer", "entity_id": "1", "op": "update", "source": "crm"}
    return {**form, "version": 1, "occurred_at": 1000, "seen": None, "before": None, "fields": {}, **parts}


def replay(log: list[Record], cuts: set[int], document: Any) -> Replay:
    """Feeds a log in batches that begin at the cuts."""
    fold = Replay(parse_policy(document), TOPIC)
    edges = sorted({0, len(log)} | {cut for cut in cuts if cut < len(log)})
    for begin, end in itertools.pairwise(edges):
        fold.feed(0, log[begin:end])
    return fold


def resolve(records: list[Record], document: Any = None) -> BatchEffects:
    return BatchResolver(parse_policy(document), TOPIC).resolve_batch(0, records, {})


@given(histories(), policies(), st.sets(st.integers(0, 8)))
def test_cutting_a_log_into_batches_changes_nothing(history: list[Any], document: Any, cuts: set[int]) -> None:
    """However a log is cut, the view ends with the same document, clock, contested fields and position."""
    log = log_of(history)
    assert replay(log, cuts, document).rows == replay(log, set(), document).rows


@given(histories(), policies())
def test_places_agree(history: list[Any], document: Any) -> None:
    """What the view, the record and the stored state of an entity say is one, and written as the plain codec writes."""
    policy = parse_policy(document)
    effects = BatchResolver(policy, TOPIC).resolve_batch(0, log_of(history), {})
    assume(effects.states)  # a person's write that changes nothing leaves none
    (key, state), (row,) = effects.states[0], effects.view
    assert row_of_state(key, state, policy) == row
    body = effects.records[0][1]
    assert (body is None) == (row.doc is None)
    if body is not None:
        record = decode_record(body)
        assert export_line(KEY, row.doc or "", row.contested) == line_of_record(record)
        assert record.policy_version == policy.version
        assert encode_record(record) == body
    assert encode_state(decode_state(state)) == state


@given(histories(), policies())
def test_delivery_after_a_crash_sends_the_record_again(history: list[Any], document: Any) -> None:
    """A log delivered again onto its own states moves no state, and sends every record and view row again."""
    log, policy = log_of(history), parse_policy(document)
    first = BatchResolver(policy, TOPIC).resolve_batch(0, log, {})
    again = BatchResolver(policy, TOPIC).resolve_batch(0, log, dict(first.states))
    assert again.states == []
    assert again.conflicts == []
    assert (again.records, again.view) == (first.records, first.view)


@given(histories())
def test_conflict_records_are_read_by_the_plain_codec(history: list[Any]) -> None:
    """Every conflict record decodes to candidates that disagree, and names the change that caused it."""
    for key, body in resolve(log_of(history)).conflicts:
        conflict = decode_conflict(body)
        assert (key, f"{conflict.entity_type}:{conflict.entity_id}") == (KEY.encode(), KEY)
        assert encode_conflict(conflict) == body
        assert len(conflict.candidates) >= 2
        cause = history[conflict.position.offset]
        assert (conflict.caused_by.source, conflict.caused_by.version) == (cause["source"], cause["version"])


GOOD = encode_change(Change(**change(fields={"name": "Ann"})))

BAD = {
    "null_key": Record(0, GOOD, key=None),
    "null_value": Record(0, None),
    "not_utf8": Record(0, GOOD, key=b"customer:\xff"),
    "key_mismatch": Record(0, GOOD, key=b"customer:2"),
    "not_avro": Record(0, b'{"op": "update"}'),
    "unknown_schema": Record(0, b"\x00\x00\x00\x03\xe7" + GOOD[5:]),
    "truncated": Record(0, GOOD[:-3]),
    "clock_skew": Record(0, GOOD, timestamp=1000 - 60_001),
}


@pytest.mark.parametrize("reason", sorted(BAD))
def test_bad_input_is_refused_and_the_next_change_resolved(reason: str) -> None:
    """Bad input ends as one dead letter with its reason, and the change behind it is resolved."""
    effects = resolve([BAD[reason], Record(1, GOOD)])
    assert [(letter.place, letter.reason) for letter in effects.dead_letters] == [(0, reason)]
    assert [key for key, _ in effects.records] == [KEY.encode()]


def test_an_undeclared_source_is_refused_and_a_steward_is_not() -> None:
    """Where sources are declared, only they and people may write."""
    history = [change(source="web"), change(source="steward:ana", version=2)]
    effects = resolve(log_of(history), document={"sources": {"crm": None}})
    assert [letter.reason for letter in effects.dead_letters] == ["unknown_source"]


def test_the_clock_guard_lets_max_future_pass() -> None:
    """A change exactly max_future ahead of its append time is not refused."""
    assert resolve([replace(BAD["clock_skew"], timestamp=1000 - 60_000)]).dead_letters == []


def test_a_source_may_have_a_clock_guard_of_its_own() -> None:
    """Its max_future counts for its changes alone."""
    ahead = [replace(record, timestamp=1000 - 2_000) for record in log_of([change(source="web"), change(source="crm")])]
    effects = resolve(ahead, document={"max_future": "1s", "sources": {"web": {"max_future": "5s"}, "crm": None}})
    assert [(letter.place, letter.reason) for letter in effects.dead_letters] == [(1, "clock_skew")]


def test_what_makes_a_state_too_large_is_refused_alone() -> None:
    """Of three changes in one batch only the one that does not fit is refused; the others are in the state."""
    history = [
        change(version=1, fields={"a": "x" * 100}),
        change(version=2, fields={"b": "y" * 5000}),
        change(version=3, fields={"c": "z"}),
    ]
    effects = resolve(log_of(history), {"limits": {"state_bytes": 1000}})
    assert [(letter.place, letter.reason) for letter in effects.dead_letters] == [(1, "state_too_large")]
    assert sorted(decode_entity(effects.states[-1][1]).fields) == ["a", "c"]


def test_what_is_counted() -> None:
    """Duplicates, stale and missing ones, reused dots and what is no number are counted, and are no conflicts."""
    history = [
        change(version=2, fields={"points": "many"}),
        change(version=2, fields={"points": "many"}),
        change(version=1, event_id="f"),
        change(version=2, fields={"points": "more"}),
        change(source="web", op="delete", seen={"crm": 2}),
        change(source="app", op="update", version=1, seen={"crm": 2, "web": 1}),
    ]
    document = {"entities": {"customer": {"fields": {"points": {"resolver": "sum"}}}}}
    counts = resolve(log_of(history), document=document).counts
    assert counts == {
        "applied": 6,
        "update_missing": 2,
        "duplicate": 1,
        "stale": 1,
        "dot_reused": 1,
        "not_a_number": 1,
    }


def test_an_entity_that_is_let_go_is_read_back() -> None:
    """With a cache for two entities, a history over many ends as with a cache for all."""
    history = [
        change(entity_id=str(n % 7), source=("crm", "web")[n % 2], version=n + 1, fields={"n": n}) for n in range(60)
    ]
    records = [replace(record, key=f"customer:{n % 7}".encode()) for n, record in enumerate(log_of(history))]
    outcomes = []
    for cache_bytes in (6_000, 6_000_000):
        resolver, states = BatchResolver(parse_policy(None), TOPIC, cache_bytes=cache_bytes), {}
        for record in records:
            states.update(resolver.resolve_batch(0, [record], states).states)
        outcomes.append({key: row_of_state(key, state, resolver.policy) for key, state in states.items()})
    assert outcomes[0] == outcomes[1]
