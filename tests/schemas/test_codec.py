"""Records come back from their bytes as themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from schemas import codec, fast
from schemas.avro_binary import encode_value, read_block, read_value
from schemas.canonical import canonical
from schemas.change import Change
from schemas.command import Command
from schemas.conflict import Candidate, Conflict
from schemas.entity_state import EntityState, FieldWrites, KnownDot, Replaced, Stamp, StatePosition, Write
from schemas.golden_record import GoldenRecord
from schemas.record import Dot, Position, Provenance
from schemas.refusal import Refusal
from tests.schemas.examples import VALUES, changes, plain

POSITION = Position(topic="syncline.changes", partition=3, offset=2**40)
PROVENANCE = Provenance(source="crm", version=7, occurred_at=-1, event_id="e-1")
SURVIVORS: list[tuple[Any, str]] = [
    (2**53 + 1, "9007199254740993"),
    (2**63 - 1, "9223372036854775807"),
    (-(2**63), "-9223372036854775808"),
    (0, "0"),
    (1, "1"),
    (1.0, "1.0"),
    (True, "true"),
    (False, "false"),
    (None, "null"),
    ("", '""'),
    ("null", '"null"'),
    ("[1]", '"[1]"'),
    ('quote " and \\ and \n', '"quote \\" and \\\\ and \\n"'),
    (-0.0, "0.0"),
    (1e16, "10000000000000000.0"),
    (1e21, "1e+21"),
    (5e-324, "5e-324"),
    ([], "[]"),
    ({}, "{}"),
    ([1, 1.0, True, None, ""], '[1,1.0,true,null,""]'),
    ({"b": [2**53 + 1, {"é": -0.0}], "a": {}}, '{"a":{},"b":[9007199254740993,{"é":0.0}]}'),
]


@pytest.mark.parametrize(("value", "text"), SURVIVORS)
def test_a_value_survives(value: Any, text: str) -> None:
    """A value keeps its type and every digit through both decoders, in fields and in before."""
    data = codec.encode_change(Change(**plain(fields={"f": value}, before={"f": value})))
    for decode in (codec.decode_change, fast.decode_change):
        change = decode(data)
        assert change.fields == {"f": text}
        assert change.before == {"f": text}


def test_minus_zero_is_written_as_zero() -> None:
    """-0.0 is 0.0 in the bytes already, so that every reader of a topic sees one value."""
    minus, plus = (codec.encode_change(Change(**plain(fields={"f": zero}))) for zero in (-0.0, 0.0))
    assert minus == plus


def test_a_count_is_not_believed() -> None:
    """A block that promises more items than its bytes can hold is refused at its head, before any item."""
    assert read_block(b"\x04" + b"\x00" * 4, 0, 2) == (2, 1, -1)
    with pytest.raises(IndexError, match="more items"):
        read_block(b"\x06" + b"\x00" * 4, 0, 2)


def test_null_is_not_absent() -> None:
    """A null stays apart from a field that is not there; so do unknown and empty seen and before."""
    data = codec.encode_change(Change(**plain(fields={"f": None}, seen={}, before={})))
    change = fast.decode_change(data)
    assert change.fields == {"f": "null"}
    assert (change.seen, change.before) == ({}, {})
    change = fast.decode_change(codec.encode_change(Change(**plain(fields={}, seen=None, before=None))))
    assert (change.fields, change.seen, change.before) == ({}, None, None)


@given(changes())
def test_a_change_comes_back(change: Change) -> None:
    """Both decoders give of any change what the model itself says that it is."""
    data = codec.encode_change(change)
    assert codec.decode_change(data) == change.wire()
    assert fast.read_change(data, 32) == change.wire()
    assert fast.decode_change(data) == change.wire()


def golden(**changed: Any) -> GoldenRecord:
    """A golden record, with what the test is about changed."""
    whole = {
        "entity_type": "customer",
        "entity_id": "42",
        "fields": {"n": 2**53 + 1, "x": 1.0, "t": ["a", {"b": True}]},
        "provenance": {"n": [PROVENANCE], "t": [PROVENANCE, PROVENANCE]},
        "clock": {"crm": 7},
        "contested": ["*", "n"],
        "pending": ["n"],
        "policy_version": "p1",
        "position": POSITION,
    }
    return GoldenRecord.model_validate(whole | changed)


def conflict() -> Conflict:
    """A conflict with a winner and two candidates."""
    candidates = [
        Candidate(source=s, version=1, occurred_at=5, op="update", event_id="e", value=v, informed=i)
        for s, v, i in (("crm", 1, True), ("web", [1.0], False))
    ]
    return Conflict(
        conflict_id="ab" * 16,
        entity_type="customer",
        entity_id="42",
        field="n",
        kind="ambiguous_order",
        outcome="keep_local",
        resolver="last_update_wins",
        policy_version="p1",
        candidates=candidates,
        winner=PROVENANCE,
        value=[1.0],
        caused_by=Dot(source="web", version=1),
        position=POSITION,
    )


def command(**changed: Any) -> Command:
    """A command, with what the test is about changed."""
    whole = {
        "command_id": "c",
        "kind": "resolve",
        "entity_type": "customer",
        "entity_id": "42",
        "requested_by": "ana",
        "requested_at": 9,
        "field": "n",
        "value": {"a": 1.0},
        "seen": {"crm": 7},
        "conflict_id": "0123",
        "note": "as told",
    }
    return Command.model_validate(whole | changed)


def state() -> EntityState:
    """An entity's state with everything in it."""
    replaced = [Replaced(hash=b"12345678", version=3, occurred_at=4)]
    write = Write(dot=0, value={"a": [1, 1.0]}, seen=0, before=1, replaced=replaced)
    return EntityState(
        position=StatePosition(partition=1, offset=2),
        clocks=[{"crm": 6}, {}],
        dots=[KnownDot(source="crm", version=7, occurred_at=8, op="create", event_id="e", seen=-1)],
        touches=[Stamp(dot=0, seen=-1)],
        tombstones=[Stamp(dot=0, seen=1)],
        fields=[FieldWrites(name="n", writes=[write])],
    )


def texts(record: Any) -> str:
    """The canonical text of a model, in which 1, 1.0 and true are three things."""
    whole = record.model_dump()
    for field in whole["fields"] if "dots" in whole else ():
        for write in field["writes"]:
            for replaced in write["replaced"]:
                replaced["hash"] = replaced["hash"].hex()
    return canonical(whole)


@pytest.mark.parametrize(
    ("record", "encode", "decode"),
    [
        (golden(), codec.encode_record, codec.decode_record),
        (golden(fields={}, provenance={}, clock={}), codec.encode_record, codec.decode_record),
        (conflict(), codec.encode_conflict, codec.decode_conflict),
        (
            conflict().model_copy(update={"winner": None, "value": None}),
            codec.encode_conflict,
            codec.decode_conflict,
        ),
        (command(), codec.encode_command, codec.decode_command),
        (
            command(kind="invalidate", field=None, value=None, seen=None),
            codec.encode_command,
            codec.decode_command,
        ),
        (state(), codec.encode_state, codec.decode_state),
    ],
)
def test_the_other_records_come_back(record: Any, encode: Any, decode: Any) -> None:
    """Golden records, conflicts, commands and states are read back as what was written, types included."""
    assert texts(decode(encode(record))) == texts(record)


def test_a_golden_value_may_be_deeper_than_a_change_value() -> None:
    """keep_siblings wraps values of the full depth once more; such a record is still read."""
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    assert codec.decode_record(codec.encode_record(golden(fields={"d": deep}))).fields == {"d": deep}


def test_a_record_is_not_read_as_another() -> None:
    """The schema id says what a record is: bytes of another kind are refused as unknown_schema."""
    data = codec.encode_conflict(conflict())
    for decode in (codec.decode_change, fast.decode_change, codec.decode_record, codec.decode_command):
        with pytest.raises(Refusal) as caught:
            decode(data)
        assert caught.value.reason == "unknown_schema"


def test_a_command_that_makes_no_sense_is_refused() -> None:
    """A resolve that names no field is bad_command, not a crash."""
    data = codec.encode_command(command().model_copy(update={"field": None}))
    with pytest.raises(Refusal) as caught:
        codec.decode_command(data)
    assert caught.value.reason == "bad_command"


@given(VALUES)
def test_a_text_is_one_value_in_avro(value: Any) -> None:
    """A canonical text becomes the Value union and comes back as the same text, with nothing left over."""
    text = canonical(value)
    data = encode_value(text)
    assert read_value(data, 0) == (text, len(data))
