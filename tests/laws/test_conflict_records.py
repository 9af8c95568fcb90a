"""What is recorded of conflicts: how many, and what of personal values."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agents.bounded_labels import OTHER, BoundedLabel
from agents.metrics import Metrics
from schemas.change import Change
from schemas.codec import decode_conflict, encode_change
from schemas.conflict import Conflict
from streams.batch import BatchResolver
from streams.entity_codec import decode_entity, encode_entity
from streams.policy import parse_policy
from tests.laws.test_batch import TOPIC, Record, change

MINUTE = 60_000


def turns(count: int) -> list[Record]:
    """Two sources that take turns on one field; each change is a new conflict. All appended in one minute."""
    history = [
        change(source=("crm", "web")[n % 2], version=n + 1, event_id=str(n), fields={"name": n}) for n in range(count)
    ]
    return [Record(offset, encode_change(Change(**one)), timestamp=10 * MINUTE) for offset, one in enumerate(history)]


def recorded(log: list[Record], document: Any, cuts: list[int], masking_key: bytes | None = None) -> list[Conflict]:
    """The records of a log that is resolved in batches ending at the cuts, by another worker each time."""
    states: dict[bytes, bytes] = {}
    found: list[Conflict] = []
    for begin, end in itertools.pairwise([0, *cuts, len(log)]):
        resolver = BatchResolver(parse_policy(document), TOPIC, masking_key=masking_key)
        effects = resolver.resolve_batch(0, log[begin:end], states)
        states.update(effects.states)
        found += [decode_conflict(body) for _, body in effects.conflicts]
    return found


@pytest.mark.parametrize("cuts", [[], [7], [1, 2, 3, 50], list(range(1, 60))])
def test_a_flood_is_recorded_thinly_and_its_count_is_told(cuts: list[int]) -> None:
    """Beyond the budget ever fewer records come, each with how many were left out; however a log is cut, the same."""
    found = recorded(turns(60), {"conflicts": {"per_minute": 10}}, cuts)
    assert [one.position.offset for one in found] == [*range(1, 13), 14, 18, 26, 42]
    assert [one.left_out for one in found] == [*[0] * 12, 1, 3, 7, 15]


def test_the_next_minute_tells_what_the_last_left_out() -> None:
    """With the first conflict of a later minute nothing is left out any more, and the rest of the count is told."""
    log = turns(60)
    log[-1] = Record(59, log[-1].value, timestamp=11 * MINUTE)
    last = recorded(log, {"conflicts": {"per_minute": 10}}, [])[-1]
    assert (last.position.offset, last.left_out) == (59, 16)


def test_all_conflicts_are_counted() -> None:
    """What has no record is counted all the same: by kind, resolver, field and pair of sources."""
    resolver = BatchResolver(parse_policy({"conflicts": {"per_minute": 10}}), TOPIC)
    metrics = Metrics()
    for name, times in resolver.resolve_batch(0, turns(60), {}).counts.items():
        if name.startswith("conflict:"):
            metrics.conflicts.count(name.removeprefix("conflict:"), times)
    text = metrics.text().decode()
    for line in (
        'syncline_conflicts_total{kind="ambiguous_order"} 59.0',
        'syncline_conflicts_by_resolver_total{resolver="last_update_wins"} 59.0',
        'syncline_conflicts_by_field_total{field="name"} 59.0',
        'syncline_conflicts_by_sources_total{sources="crm and web"} 59.0',
        "syncline_conflicts_left_out_total 43.0",
    ):
        assert line in text


def test_labels_are_bounded() -> None:
    """A metric has only so many series: later values count as other."""
    label = BoundedLabel(2)
    assert [label.of(value) for value in ("a", "b", "c", "a", "c")] == ["a", "b", OTHER, "a", OTHER]


@pytest.mark.parametrize(("key", "masks"), [(None, 1), (b"a key of sixteen", 2)])
def test_personal_values_are_not_in_records(key: bytes | None, masks: int) -> None:
    """Candidates and golden value of a personal field are masked in the record; whether they differ a key tells."""
    document = {"entities": {"customer": {"fields": {"name": {"personal": True}}}}}
    (found,) = recorded(turns(2), document, [], key)
    values = {one.value for one in found.candidates}
    assert len(values) == masks
    assert found.value in values
    assert all(value == "***" or str(value).startswith("hmac:") for value in values)


def test_a_state_of_the_first_schema_is_read() -> None:
    """What an earlier release stored is read, and has no budget yet."""
    resolver = BatchResolver(parse_policy(None), TOPIC)
    ((_, state),) = resolver.resolve_batch(0, turns(1), {}).states
    first = b"\x00\x00\x00\x00\x05" + state[5:-1]  # the budget, null, was added at the end
    assert encode_entity(decode_entity(first), 0) == state
