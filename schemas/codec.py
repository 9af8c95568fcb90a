"""Bytes to records and back: Avro in Confluent framing (0x00, 4-byte schema id, body).

This is the reference decoder; `fast.decode_change` is the quick one for the newest change schema.
"""

from __future__ import annotations

import io
from typing import Any, Final, TypeVar, cast

import orjson
from fastavro import schemaless_reader, schemaless_writer
from pydantic import ValidationError

from schemas.avro_scan import scan
from schemas.canonical import NESTING_CEILING, canonical, canonical_float, canonical_string
from schemas.change import Change
from schemas.command import Command
from schemas.conflict import Conflict
from schemas.entity_state import EntityState
from schemas.golden_record import GoldenRecord
from schemas.record import Record
from schemas.refusal import DEFAULT_LIMITS, Limits, Refusal
from schemas.released import TABLE, Released, newest
from schemas.rules import check_change
from schemas.strict_json import canonical_json
from schemas.wire import WireChange

_FRAME_BYTES: Final = 5
_CHANGE: Final = newest("Change")
_GOLDEN_RECORD: Final = newest("GoldenRecord")
_CONFLICT: Final = newest("Conflict")
_COMMAND: Final = newest("Command")
_STATE: Final = newest("EntityState")

_R = TypeVar("_R", bound=Record)


def encode_change(change: Change, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Encode a change. Refusal: it is over a limit."""
    check_change(change.wire(), limits)
    datum = change.model_dump()
    datum["fields"] = _branches(change.fields)
    datum["before"] = None if change.before is None else _branches(change.before)
    data = _write(_CHANGE, datum)
    _check_size(data, limits)
    return data


def decode_change(data: bytes, limits: Limits = DEFAULT_LIMITS) -> WireChange:
    """Decode a change of any released schema. Refusal: whatever is wrong; nothing else escapes."""
    _check_size(data, limits)
    datum = _read(data, _CHANGE)
    before = datum["before"]
    change = WireChange(
        datum["entity_type"] + ":" + datum["entity_id"],
        datum["entity_type"],
        datum["entity_id"],
        datum["event_id"],
        datum["op"],
        datum["source"],
        datum["version"],
        datum["occurred_at"],
        datum["seen"],
        None if before is None else _texts("before", before, limits),
        _texts("fields", datum["fields"], limits),
    )
    check_change(change, limits)
    return change


def encode_record(record: GoldenRecord) -> bytes:
    """Encode a golden record."""
    datum = record.model_dump()
    datum["fields"] = _branches(record.fields)
    return _write(_GOLDEN_RECORD, datum)


def decode_record(data: bytes) -> GoldenRecord:
    """Decode a golden record. Refusal: the bytes are none."""
    datum = _read(data, _GOLDEN_RECORD)
    datum["fields"] = {name: _value(value) for name, value in datum["fields"].items()}
    return _model(GoldenRecord, datum)


def encode_conflict(conflict: Conflict) -> bytes:
    """Encode a conflict."""
    datum = conflict.model_dump()
    datum["value"] = _branch(conflict.value)
    for candidate in datum["candidates"]:
        candidate["value"] = _branch(candidate["value"])
    return _write(_CONFLICT, datum)


def decode_conflict(data: bytes) -> Conflict:
    """Decode a conflict. Refusal: the bytes are none."""
    datum = _read(data, _CONFLICT)
    datum["value"] = _value(datum["value"])
    for candidate in datum["candidates"]:
        candidate["value"] = _value(candidate["value"])
    return _model(Conflict, datum)


def encode_command(command: Command) -> bytes:
    """Encode a command."""
    datum = command.model_dump()
    datum["value"] = _branch(command.value)
    return _write(_COMMAND, datum)


def decode_command(data: bytes) -> Command:
    """Decode a command. Refusal: the bytes are none (bad_command where they are one that makes no sense)."""
    datum = _read(data, _COMMAND)
    datum["value"] = _value(datum["value"])
    return _model(Command, datum, "bad_command")


def encode_state(state: EntityState) -> bytes:
    """Encode the state of an entity."""
    datum = state.model_dump()
    for field in datum["fields"]:
        for write in field["writes"]:
            write["value"] = _branch(write["value"])
    return _write(_STATE, datum)


def decode_state(data: bytes) -> EntityState:
    """Decode the state of an entity. Refusal: the bytes are none."""
    datum = _read(data, _STATE)
    for field in datum["fields"]:
        for write in field["writes"]:
            write["value"] = _value(write["value"])
    return _model(EntityState, datum)


def _check_size(data: bytes, limits: Limits) -> None:
    if len(data) > limits.change_bytes:
        raise Refusal("too_large", f"a change has {len(data)} bytes; at most {limits.change_bytes} are allowed")


def _write(released: Released, datum: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(released.frame)
    schemaless_writer(out, released.schema, datum)
    return out.getvalue()


def _read(data: bytes, reader: Released) -> dict[str, Any]:
    """Read a body by the schema its writer used, as a record of the newest one."""
    writer = _writer(data, reader.record)
    _check_body(writer, data)
    try:
        body = io.BytesIO(data)
        body.seek(_FRAME_BYTES)
        datum: Any = schemaless_reader(body, writer.schema, None if writer is reader else reader.schema)
    except Exception as error:
        # Not reached after the walk above, as far as is known; but whatever a decoder that is not ours
        # raises, it is this record that cannot be read, and the next one can.
        raise Refusal(
            "not_avro", f"the body of schema {writer.schema_id} cannot be read: {type(error).__name__}"
        ) from None
    return cast(dict[str, Any], datum)


def _writer(data: bytes, record: str) -> Released:
    if not data or data[0] != 0:
        first = f"byte 0x{data[0]:02x}" if data else "nothing"
        raise Refusal("not_avro", f"a record starts with {first}; it must be 0x00 and a 4-byte schema id")
    if len(data) < _FRAME_BYTES:
        raise Refusal("truncated", f"a record has {len(data)} bytes; the schema id alone ends at {_FRAME_BYTES}")
    schema_id = int.from_bytes(data[1:_FRAME_BYTES], "big")
    writer = TABLE.get(schema_id)
    if writer is None or writer.record != record:
        named = "unknown" if writer is None else f"of {writer.record}"
        known = ", ".join(str(line.schema_id) for line in TABLE.values() if line.record == record)
        raise Refusal("unknown_schema", f"schema id {schema_id} is {named}; {record} has {known}")
    return writer


def _check_body(writer: Released, data: bytes) -> None:
    place = f"a {writer.record} of schema {writer.schema_id}"
    try:
        end = scan(writer.shape, data, _FRAME_BYTES)
    except IndexError:
        raise Refusal("truncated", f"{place} ends early, at {len(data)} bytes") from None
    except UnicodeDecodeError:
        raise Refusal("not_utf8", f"{place} has a string that is not UTF-8") from None
    except ValueError as error:
        raise Refusal("not_avro", f"{place} is malformed: {error}") from None
    if end != len(data):
        raise Refusal("not_avro", f"{place} ends at byte {end}, and {len(data) - end} bytes are left over")


def _branches(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _branch(value) for name, value in values.items()}


def _branch(value: Any) -> Any:
    """Name the branch of the Value union outright, so that 1, 1.0 and true never pass for each other."""
    if value is None:
        return None
    if value is True or value is False:
        return ("boolean", value)
    if type(value) is int:
        return ("long", value)
    if type(value) is float:
        return ("double", value + 0.0)  # -0.0 is 0.0
    if type(value) is str:
        return ("string", value)
    return ("syncline.Json", {"text": canonical(value)})


def _texts(place: str, values: dict[str, Any], limits: Limits) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        try:
            texts[name] = _text(value, limits.depth)
        except Refusal as refusal:
            raise Refusal(refusal.reason, f"{place}.{name[:64]}: {refusal}") from None
        except ValueError as error:
            raise Refusal("bad_value", f"{place}.{name[:64]}: {error}") from None
    return texts


def _text(value: Any, depth: int) -> str:
    """Return the canonical JSON text of a value as fastavro gives it: a dict is the branch Json."""
    kind = type(value)
    if kind is str:
        return canonical_string(value)
    if kind is float:
        return canonical_float(value)
    if kind is dict:
        return canonical_json(value["text"], depth)
    return canonical(value)


def _value(value: Any) -> Any:
    """Return the Python value of a value as fastavro gives it. Refusal: text that is no JSON."""
    if type(value) is dict:
        # Not the limit of a change: what is merged of several values is nested deeper than each.
        return orjson.loads(canonical_json(value["text"], NESTING_CEILING))
    return value


def _model(model: type[_R], datum: dict[str, Any], reason: str = "not_avro") -> _R:
    try:
        return model.model_validate(datum)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refusal(reason, f"{model.__name__} {place}: {first['msg']}") from None
