"""What one entity may become: bounded whatever is written to it, and refused alike however its log is cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.change import Change
from schemas.codec import encode_change
from streams.batch import BatchResolver
from streams.entity import MAX_REPLACED
from streams.entity_codec import decode_entity
from streams.policy import parse_policy
from streams.topics import CONFLICTS, RECORDS
from tests.laws.histories import KEY, histories, policies
from tests.laws.test_batch import LATE, TOPIC, Record, change, log_of, resolve

SIZE = "max.message.bytes"
#: Most bytes of a small number, name or value in a state.
WORD = 12
#: A replaced value has a hash of 8 bytes, a version and a time of ten at the most.
REPLACED = 28


def run(log: list[Record], cuts: list[int], document: Any) -> tuple[list[Any], dict[bytes, bytes], dict[str, int]]:
    """The refusals (offset, reason), last states and counts of a log in batches that end at the cuts."""
    resolver, states = BatchResolver(parse_policy(document), TOPIC), {}
    refused: list[Any] = []
    counts: dict[str, int] = {}
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        effects = resolver.resolve_batch(0, log[begin:end], states)
        refused += [(log[begin + letter.place].offset, letter.reason) for letter in effects.dead_letters]
        states.update(effects.states)
        for name, times in effects.counts.items():
            counts[name] = counts.get(name, 0) + times
    return sorted(refused), states, counts


@given(histories(12), policies(), st.lists(st.integers(0, 12)), st.integers(1, 4), st.integers(100, 700))
def test_the_same_changes_are_refused_however_a_log_is_cut(
    history: list[Any], document: Any, cuts: list[int], sources: int, state_bytes: int
) -> None:
    """Limits on the state of an entity refuse a change for what came before it, and not for what came with it."""
    document["limits"] = {"seen": sources, "state_bytes": state_bytes}
    log = log_of(history)
    one_by_one = run(log, list(range(1, len(log))), document)
    assert run(log, sorted(min(cut, len(log)) for cut in cuts), document) == one_by_one
    assert run(log, [], document) == one_by_one


@pytest.mark.parametrize("told", [{}, {"before": True}, {"seen": True}])
@pytest.mark.parametrize(("sources", "fields"), [(1, 1), (2, 3), (5, 8)])
def test_a_state_grows_with_sources_and_fields_and_not_with_writes(sources: int, fields: int, told: Any) -> None:
    """After ten times as many writes a state has no byte more than the bound that its sources and fields give."""
    replaced = MAX_REPLACED * REPLACED if "before" in told else 0
    clocks = (sources * fields + sources) * sources * WORD if "seen" in told else 0
    bound = 20 + sources * 6 * WORD + fields * (WORD + sources * (3 * WORD + replaced)) + clocks
    resolver, states = BatchResolver(parse_policy(None), TOPIC), {}
    for number in range(10 * MAX_REPLACED):
        source = f"s{number % sources}"
        more = {
            "before": {f"f{at}": number for at in range(fields)} if "before" in told else None,
            "seen": {f"s{at}": number for at in range(sources)} if "seen" in told else None,
        }
        written = {f"f{at}": number + 1 for at in range(fields)}
        form = change(event_id="e", source=source, version=number + 1, occurred_at=number, fields=written, **more)
        (record,) = log_of([form])
        effects = resolver.resolve_batch(0, [replace(record, offset=number)], states)
        states.update(effects.states)
        assert len(states[KEY.encode()]) <= bound


def test_an_entity_has_as_many_sources_as_a_clock_may_name() -> None:
    """A further source is refused, and those that are known go on; each costs every later judgement its share."""
    history = [change(source=f"s{number}", fields={"n": number}) for number in range(5)]
    history.append(change(source="s0", version=2, fields={"n": 0}))
    effects = resolve(log_of(history), {"limits": {"seen": 3}})
    assert [(letter.place, letter.reason) for letter in effects.dead_letters] == [
        (3, "too_many_sources"),
        (4, "too_many_sources"),
    ]
    assert decode_entity(effects.states[0][1]).clock() == {"s0": 2, "s1": 1, "s2": 1}
    assert effects.counts["applied"] == 4


def test_people_count_as_sources() -> None:
    """What invents names of people is refused like what invents any others."""
    history = [change(source=f"steward:{number}", fields={"n": number}) for number in range(4)]
    effects = resolve(log_of(history), {"limits": {"seen": 3}})
    assert [letter.place for letter in effects.dead_letters] == [3]


ESCAPED = "\x01" * 5_000


def two(number: int, **parts: Any) -> dict[str, Any]:
    """A change of two sources in turn, which contest what each of them wrote."""
    return change(source=("crm", "web")[number % 2], version=number + 1, **parts)


#: What grows in a record or a conflict as nothing does in a state: each write's id, names told again, escapes.
FILLS: dict[str, Callable[[int], dict[str, Any]]] = {
    "long ids": lambda n: two(n, event_id="i" * 500, fields={f"{n // 2}.{at}": n for at in range(1_000)}),
    "one very long id": lambda n: two(n, event_id="i" * 200_000 + str(n), fields={f"{at}": n for at in range(1_000)}),
    "short ids": lambda n: two(n, fields={f"{n // 2}.{at}": n for at in range(1_000)}),
    "long sources": lambda n: change(source="s" * 9_000 + str(n), fields={f"{at}": n for at in range(100)}),
    "long names": lambda n: two(n, fields={f"{'n' * 250}{n // 2}.{at}": n for at in range(900)}),
    "control characters": lambda n: two(n, fields={f"{n // 2}.{at}": ESCAPED + str(n) for at in range(8)}),
    "large values": lambda n: change(source=f"s{n}", fields={"f": str(n) * 30_000}),
}


@pytest.mark.parametrize("resolver", ["last_update_wins", "union", "keep_siblings", "manual"])
@pytest.mark.parametrize("fill", FILLS)
def test_what_comes_of_a_change_fits_its_topics(fill: str, resolver: str) -> None:
    """Until the limits stop it, no golden record and no conflict outgrows its topic, nor do all conflicts together."""
    engine, states = BatchResolver(parse_policy({"resolver": resolver}), TOPIC), {}
    for offset in itertools.count():
        record = Record(offset, encode_change(Change(**FILLS[fill](offset))))
        effects = engine.resolve_batch(0, [record], states)
        states.update(effects.states)
        for _, body in effects.records:
            assert body is not None
            assert len(body) < int(RECORDS.config[SIZE])
        assert sum(len(body) for _, body in effects.conflicts) < int(CONFLICTS.config[SIZE])
        if effects.dead_letters:
            assert [letter.reason for letter in effects.dead_letters] == ["state_too_large"]
            return


def test_a_large_entity_is_written_once_a_batch() -> None:
    """However many changes of it a batch has, an entity gets one state, one golden record and one row of the view."""
    fields = {f"f{n}": "x" * 400 for n in range(500)}
    wide = [change(fields=fields), *(change(source="web", version=n, fields={"n": n}) for n in range(1, 600))]
    log = [Record(at, encode_change(Change(**form)), timestamp=LATE) for at, form in enumerate(wide)]
    effects = BatchResolver(parse_policy(None), TOPIC).resolve_batch(0, log, {})
    assert effects.dead_letters == []
    assert effects.counts["applied"] == len(wide)
    assert [len(effects.states), len(effects.records), len(effects.view)] == [1, 1, 1]
    assert decode_entity(effects.states[0][1]).offset == effects.view[0].offset == effects.applied == len(log) - 1
