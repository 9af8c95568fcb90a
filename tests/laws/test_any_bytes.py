"""Any bytes as key and value: each record is applied or is one dead letter, and the one behind it is resolved."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dead_letters import dead_letter_row
from agents.topics import HEADER_BYTES
from schemas.avro_binary import encode_string
from schemas.change import Change
from schemas.codec import encode_change
from schemas.refusal import REASONS
from streams.batch import BatchResolver
from streams.effects import DeadLetter
from streams.entity_codec import decode_entity
from streams.policy import parse_policy
from streams.topics import CHANGES
from tests.laws.histories import KEY, histories
from tests.laws.test_batch import TOPIC, Record, change, resolve
from tests.schemas.test_decoders_agree import mutated

FRAMES = [b"", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x02", b"\x00\xff\xff\xff\xff"]
LAST_VERSION = 1_000
LAST = encode_change(Change(**change(version=LAST_VERSION, fields={"last": True})))


def damaged(form: dict[str, Any], seed: int) -> bytes:
    return mutated(random.Random(seed), encode_change(Change(**form)))


FORMS = histories(1).map(lambda history: history[0])
VALUES = (
    st.none()
    | st.builds(bytes.__add__, st.sampled_from(FRAMES), st.binary(max_size=60))
    | FORMS.map(lambda form: encode_change(Change(**form)))
    | st.builds(damaged, FORMS, st.integers(0, 2**32))
)
KEYS = st.none() | st.binary(max_size=12) | st.just(KEY.encode()) | st.binary(max_size=3).map(b"customer:".__add__)
RECORDS = st.lists(st.tuples(KEYS, VALUES), max_size=8)


def log_with_last(pairs: list[tuple[bytes | None, bytes | None]]) -> list[Record]:
    """The log of these keys and values, with one more change behind them."""
    return [Record(offset, value, key) for offset, (key, value) in enumerate([*pairs, (KEY.encode(), LAST)])]


@given(RECORDS)
def test_each_record_is_applied_or_one_dead_letter(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Nothing is raised, every record is accounted for once, and the last change is in its entity's state."""
    log = log_with_last(pairs)
    effects = resolve(log)
    places = [letter.place for letter in effects.dead_letters]
    assert sorted(set(places)) == sorted(places)
    assert effects.counts["applied"] + len(places) == len(log)
    assert {letter.reason for letter in effects.dead_letters} <= set(REASONS)
    state = dict(effects.states)[KEY.encode()]
    assert decode_entity(state).clock()["crm"] == LAST_VERSION


@given(RECORDS)
def test_bad_records_change_nothing_for_others(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """A log without the records that were refused has the same states, records, conflicts and rows."""
    log = log_with_last(pairs)
    effects = resolve(log)
    refused = {letter.place for letter in effects.dead_letters}
    without = resolve([record for place, record in enumerate(log) if place not in refused])
    assert (without.states, without.records, without.view) == (effects.states, effects.records, effects.view)
    assert (without.conflicts, without.dead_letters) == (effects.conflicts, [])


@dataclass(frozen=True)
class Received:
    """A refused record as the consumer gave it."""

    key: bytes | None
    value: bytes | None
    offset: int = 2**62
    headers: tuple[Any, ...] = (("theirs", b"1"),)


def added_bytes(record: Received, letter: DeadLetter) -> int:
    """What a dead letter has besides the bytes as received, with the record's own headers left out."""
    ours = dead_letter_row(TOPIC, 7, record, letter).headers[len(record.headers) :]
    return sum(len(name) + len(value or b"") + 8 for name, value in ours)


def with_long(text: str, instead_of: str) -> bytes:
    """The last change with a long text in the place of a short one."""
    return LAST.replace(encode_string(instead_of), encode_string(text * 100_000))


LARGEST = int(CHANGES.config["max.message.bytes"])
NAN = b"\x06\xff\xff\xff\xff\xff\xff\xff\xff"
TRUE = b"\x02\x01"
LONG = {
    "a key of control characters": (b"\x01" * LARGEST, LAST),
    "a key of characters without a shape": ("\U000e0001".encode() * (LARGEST // 4), LAST),
    "a key of stray bytes": (b"\xff" * LARGEST, LAST),
    "a source": (KEY.encode(), with_long("\x01", "crm")),
    "an entity type": (KEY.encode(), with_long("x", "customer")),
    "an entity id": (KEY.encode(), with_long("\x01", "1")),
    "a field's name": (KEY.encode(), with_long("\x01", "last").replace(TRUE, NAN)),
    "a value": (KEY.encode(), b"\x01" * LARGEST),
}


@pytest.mark.parametrize("what", LONG)
def test_a_dead_letter_is_little_larger_than_what_was_received(what: str) -> None:
    """However long what is wrong is, what is told about it fits in what `dead-letters` takes beside it."""
    key, value = LONG[what]
    policy = {"sources": {"crm": {}}}
    (letter,) = resolve([Record(0, value, key)], policy).dead_letters
    assert added_bytes(Received(key, value), letter) < HEADER_BYTES / 8


def test_the_next_batch_is_resolved_after_any_reason() -> None:
    """What a batch refused leaves nothing behind in the engine: the next batch is resolved as if alone."""
    narrow = {"limits": {"state_bytes": 400, "seen": 2}}
    resolver = BatchResolver(parse_policy(narrow), TOPIC)
    forms = [change(source=f"s{n % 3}", version=n + 1, fields={"f": "x" * (80 * n)}) for n in range(6)]
    bad = [Record(at, encode_change(Change(**form))) for at, form in enumerate(forms)]
    bad += [Record(20 + at, value, key) for at, (key, value) in enumerate(LONG.values())]
    first = resolver.resolve_batch(0, bad, {})
    assert {"state_too_large", "too_many_sources"} < {letter.reason for letter in first.dead_letters}
    other = Record(50, LAST.replace(encode_string("1"), encode_string("2")), b"customer:2")
    second = resolver.resolve_batch(0, [other], dict(first.states))
    assert second == resolve([other], narrow)
