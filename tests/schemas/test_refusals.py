"""Bad input: each reason that decoding and the rules can give, and that both decoders give the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from schemas import codec, fast
from schemas.avro_binary import encode_long, encode_string
from schemas.change import Change
from schemas.refusal import REASONS, Limits, Refusal
from tests.schemas.examples import plain

FRAME = b"\x00\x00\x00\x00\x01"
HEAD = b"".join(map(encode_string, ("e-1", "customer", "42"))) + b"\x02" + encode_string("crm") + b"\x0e\x00"
NO_SEEN_NO_BEFORE = b"\x00\x00"
GOOD = FRAME + HEAD + NO_SEEN_NO_BEFORE + b"\x00"


def body(
    head: dict[str, Any] | None = None,
    seen: bytes = b"\x00",
    before: bytes = b"\x00",
    fields: bytes = b"\x00",
) -> bytes:
    """A framed change of the given parts; head: what differs from an unremarkable one, ids, op and dot."""
    whole = {
        "event_id": "e-1",
        "entity_type": "customer",
        "entity_id": "42",
        "op": 1,
        "source": "crm",
        "version": 7,
    }
    whole |= head or {}
    out = bytearray(FRAME)
    for name in ("event_id", "entity_type", "entity_id"):
        out += encode_string(whole[name])
    out += encode_long(whole["op"])
    out += encode_string(whole["source"])
    out += encode_long(whole["version"])
    out += encode_long(0)
    return bytes(out) + seen + before + fields


def one(value: bytes, name: bytes = b"\x02f") -> bytes:
    """A map of one entry: the bytes of the value union under the bytes of a name."""
    return b"\x02" + name + value + b"\x00"


def json_value(text: str) -> bytes:
    """The Json branch with any text."""
    return b"\x0a" + encode_string(text)


def many(count: int, value: bytes) -> bytes:
    """A map of so many entries."""
    out = bytearray()
    out += encode_long(count)
    for number in range(count):
        out += encode_string(f"f{number}")
        out += value
    return bytes(out) + b"\x00"


NAN = b"\x06\x00\x00\x00\x00\x00\x00\xf8\x7f"
INFINITY = b"\x06\x00\x00\x00\x00\x00\x00\xf0\x7f"
TWENTY_MILLION = b"\x80\xb4\x89\x13"

TABLE: list[tuple[str, str, bytes]] = [
    ("not_avro", "nothing at all", b""),
    ("not_avro", "JSON", b'{"op":"update"}'),
    ("not_avro", "another magic byte", b"\x01" + GOOD[1:]),
    ("not_avro", "bytes left over", GOOD + b"\x00"),
    ("not_avro", "an op that is no symbol", body({"op": 4})),
    ("not_avro", "a negative op", body({"op": -1})),
    ("not_avro", "a negative length", FRAME + b"\x01" + GOOD[6:]),
    ("not_avro", "a padded integer", FRAME + b"\x86\x00e-1" + GOOD[9:]),
    ("not_avro", "an integer of 65 bits", body(seen=b"\x02\x02\x02s" + b"\xff" * 9 + b"\x03\x00")),
    ("not_avro", "an integer of eleven bytes", body(seen=b"\x02\x02\x02s" + b"\xff" * 10 + b"\x01\x00")),
    ("not_avro", "a union branch that is none", body(seen=b"\x04\x00")),
    ("not_avro", "a negative union branch", body(seen=b"\x01")),
    ("not_avro", "a value of no branch", body(fields=one(b"\x0c"))),
    ("not_avro", "a boolean of 2", body(fields=one(b"\x02\x02"))),
    ("not_avro", "a field twice", body(fields=b"\x04\x02f\x00\x02f\x00\x00")),
    ("not_avro", "a source twice in seen", body(seen=b"\x02\x04\x02s\x02\x02s\x02\x00")),
    ("not_avro", "a block of another size", body(fields=b"\x01\x08\x02f\x00\x00")),
    ("not_avro", "a block of negative size", body(fields=b"\x01\x01\x02f\x00\x00")),
    ("unknown_schema", "an id that was never released", b"\x00\x00\x00\x03\xe7" + GOOD[5:]),
    ("unknown_schema", "the id of another record", b"\x00\x00\x00\x00\x02" + GOOD[5:]),
    ("truncated", "half a frame", GOOD[:3]),
    ("truncated", "a frame without a body", GOOD[:5]),
    ("truncated", "half a body", GOOD[:-1]),
    ("truncated", "a string longer than the rest", FRAME + b"\xfe\x01" + GOOD[6:]),
    ("truncated", "five bytes that promise twenty million", body(fields=TWENTY_MILLION + b"\x00")),
    ("truncated", "two to the 62 entries", body(fields=b"\xff" * 8 + b"\x7f" + b"\x00")),
    ("truncated", "half a double", body(fields=one(b"\x06\x00\x00"))),
    ("not_utf8", "an event_id of stray bytes", FRAME + b"\x04\xff\xfe" + GOOD[9:]),
    ("not_utf8", "a surrogate in a value", body(fields=one(b"\x08\x06\xed\xa0\x80"))),
    ("not_utf8", "a field's name of stray bytes", body(fields=one(b"\x00", b"\x02\xff"))),
    ("bad_entity_type", "a capital", body({"entity_type": "Customer"})),
    ("bad_entity_type", "nothing", body({"entity_type": ""})),
    ("bad_entity_type", "a colon, which would make keys meet", body({"entity_type": "a:b"})),
    ("bad_entity_type", "a new line at the end", body({"entity_type": "customer\n"})),
    ("bad_entity_id", "nothing", body({"entity_id": ""})),
    ("bad_entity_id", "257 bytes", body({"entity_id": "x" * 257})),
    ("bad_entity_id", "129 characters of two bytes", body({"entity_id": "é" * 129})),
    ("bad_event_id", "nothing", body({"event_id": ""})),
    ("bad_source", "nothing", body({"source": ""})),
    ("bad_version", "zero", body({"version": 0})),
    ("bad_version", "below zero", body({"version": -7})),
    ("bad_version", "below zero in seen", body(seen=b"\x02\x02\x02s\x01\x00")),
    ("bad_op", "a delete with fields", body({"op": 2}, fields=one(b"\x00"))),
    ("bad_field_name", "nothing", body(fields=one(b"\x00", b"\x00"))),
    ("bad_field_name", "a star", body(fields=one(b"\x00", b"\x02*"))),
    ("bad_field_name", "a star in before", body(before=b"\x02" + one(b"\x00", b"\x02*"))),
    ("bad_value", "NaN", body(fields=one(NAN))),
    ("bad_value", "infinity in before", body(before=b"\x02" + one(INFINITY))),
    ("bad_value", "text that is no JSON", body(fields=one(json_value("{'a':1}")))),
    ("bad_value", "no text", body(fields=one(json_value("")))),
    ("bad_value", "an integer of 65 bits in JSON", body(fields=one(json_value("[18446744073709551616]")))),
    ("bad_value", "a lone surrogate in JSON", body(fields=one(json_value('["\\ud800"]')))),
    ("bad_value", "a key twice in JSON", body(fields=one(json_value('{"a":1,"a":2}')))),
    ("bad_value", "NaN in JSON", body(fields=one(json_value("[NaN]")))),
    ("too_large", "a byte over 256 KiB", GOOD + b"\x00" * (262_145 - len(GOOD))),
    ("value_too_large", "64 KiB and its quotes", body(fields=one(b"\x08" + encode_string("x" * 65_535)))),
    (
        "value_too_large",
        "what escapes make larger",
        body(fields=one(b"\x08" + encode_string("\x01" * 11_000))),
    ),
    ("value_too_large", "two bytes a character", body(fields=one(b"\x08" + encode_string("é" * 32_768)))),
    ("too_deep", "33 arrays", body(fields=one(json_value("[" * 33 + "]" * 33)))),
    ("too_deep", "60,000 arrays", body(fields=one(json_value("[" * 60_000)))),
    ("too_many_fields", "1,001", body(fields=many(1_001, b"\x00"))),
    ("too_many_fields", "1,001 in before", body(before=b"\x02" + many(1_001, b"\x00"))),
    ("too_many_seen", "257", body(seen=b"\x02" + many(257, b"\x02"))),
]
DECODERS = [codec.decode_change, fast.decode_change]
# Not for the codec to find: they need the record's key, the policy, the append time, the state, the source, or JSON.
FOUND_ELSEWHERE = {
    "null_key",
    "null_value",
    "key_mismatch",
    "unknown_source",
    "clock_skew",
    "wrong_type",
    "too_many_sources",
    "state_too_large",
    "bad_command",
    "bad_time",
    "bad_shape",
    "foreign_source",
    "bad_reply",
    "not_caught_up",
    "superseded",
}


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(("reason", "what", "data"), TABLE, ids=[f"{row[0]}: {row[1]}" for row in TABLE])
def test_bad_input_is_refused(reason: str, what: str, data: bytes, decode: Callable[[bytes], Any]) -> None:
    """Each kind of bad input ends in a refusal with its own reason, from both decoders."""
    with pytest.raises(Refusal) as caught:
        decode(data)
    assert caught.value.reason == reason, what
    assert caught.value.stage in ("decode", "check")


def test_every_reason_is_tried() -> None:
    """The table above has a row for each reason that decoding can give."""
    assert {row[0] for row in TABLE} | FOUND_ELSEWHERE == set(REASONS)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("256 bytes of id", body({"entity_id": "é" * 128})),
        ("1,000 fields", body(fields=many(1_000, b"\x00"))),
        ("256 sources seen", body(seen=b"\x02" + many(256, b"\x02"))),
        ("a value of 64 KiB", body(fields=one(b"\x08" + encode_string("x" * 65_534)))),
        ("a value of depth 32", body(fields=one(json_value("[" * 32 + "]" * 32)))),
        ("a block that says its size", body(fields=b"\x01\x06\x02f\x00\x00")),
        ("two blocks", body(fields=b"\x02\x02f\x00\x02\x02g\x00\x00")),
        ("a seen of zero", body(seen=b"\x02\x02\x02s\x00\x00")),
    ],
)
def test_what_just_fits_is_taken(what: str, data: bytes) -> None:
    """A change at its limits, or in blocks as other writers make them, is decoded alike by both."""
    assert codec.decode_change(data) == fast.read_change(data, 32) == fast.decode_change(data), what


@pytest.mark.parametrize("decode", DECODERS)
def test_limits_are_settings(decode: Callable[[bytes, Limits], Any]) -> None:
    """Each limit of a change can be set, and what is over the one that is set is refused for it."""
    data = codec.encode_change(Change(**plain()))
    narrow = {"change_bytes": "too_large", "value_bytes": "value_too_large", "depth": "too_deep"}
    for name, reason in (narrow | {"fields": "too_many_fields", "seen": "too_many_seen"}).items():
        with pytest.raises(Refusal) as caught:
            decode(data, Limits(**{name: 1}))
        assert caught.value.reason == reason


def test_encoding_keeps_to_the_limits() -> None:
    """A change that no decoder would take is refused before it is sent."""
    with pytest.raises(Refusal) as caught:
        codec.encode_change(Change(**plain(fields={"f": "x" * 70_000})))
    assert caught.value.reason == "value_too_large"
    with pytest.raises(Refusal) as caught:
        codec.encode_change(Change(**plain(fields={f"f{i}": "x" * 60_000 for i in range(5)})))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        body(fields=one(json_value('{"secret":'))),
        body(fields=one(json_value('{"secret":1,"secret":2}'))),
        body(fields=one(b"\x08" + encode_string("secret" * 20_000))),
        body({"entity_id": "secret" * 100}),
        body({"op": 2}, fields=one(b"\x08" + encode_string("secret"))),
    ],
)
def test_a_message_holds_no_value(data: bytes) -> None:
    """The message of a refusal travels in a header and in logs: it has no value and no id in it."""
    for decode in DECODERS:
        with pytest.raises(Refusal) as caught:
            decode(data)
        assert "secret" not in str(caught.value)


def test_a_refusal_has_a_reason_of_the_table() -> None:
    """Only a reason of the table can be given, and a refusal survives pickling between processes."""
    with pytest.raises(KeyError, match="no_such"):
        Refusal("no_such", "message")
    copy = pickle.loads(pickle.dumps(Refusal("too_deep", "message", "check")))
    assert (copy.reason, str(copy), copy.stage) == ("too_deep", "message", "check")
