"""The quick way from bytes to what the engine holds, bound to the newest Change.

The decoder goes straight from the bytes to canonical JSON texts, without the Python values and dicts in
between. It judges nothing: whatever it cannot read goes to `codec.decode_change`, whose word on what is
wrong with it stands. tests/schemas proves that the two agree.
"""

from __future__ import annotations

from typing import Final

from schemas import codec
from schemas.avro_binary import (
    JSON,
    read_block,
    read_long,
    read_name,
    read_string,
    read_value,
)
from schemas.refusal import DEFAULT_LIMITS, Limits
from schemas.released import newest
from schemas.rules import OPS, check_change
from schemas.strict_json import canonical_json
from schemas.wire import WireChange

_CHANGE_FRAME: Final[bytes] = newest("Change").frame
_FRAME_BYTES: Final = 5
# The fewest bytes of a map entry: one for the length of an empty key, one for a number or a null.
_ENTRY_BYTES: Final = 2


def decode_change(data: bytes, limits: Limits = DEFAULT_LIMITS) -> WireChange:
    """Decode a change of any released schema; results and refusals are those of codec.decode_change."""
    if len(data) <= limits.change_bytes and data[:_FRAME_BYTES] == _CHANGE_FRAME:
        try:
            change = read_change(data, limits.depth)
            check_change(change, limits)
            return change
        except (ValueError, IndexError):
            pass
    return codec.decode_change(data, limits)


def read_change(data: bytes, depth: int) -> WireChange:
    """Read a framed change of the newest schema. ValueError or IndexError: it is not well-formed.

    depth: the limit on nesting of values. The rules are not checked here.
    """
    event_id, pos = read_string(data, _FRAME_BYTES)
    entity_type, pos = read_name(data, pos)
    entity_id, pos = read_string(data, pos)
    op = data[pos]
    if op > 6 or op & 1:
        raise ValueError("op is no symbol of the enum")
    source, pos = read_name(data, pos + 1)
    version, pos = read_long(data, pos)
    occurred_at, pos = read_long(data, pos)
    seen: dict[str, int] | None = None
    if _present(data[pos]):
        seen, pos = _read_clock(data, pos + 1)
    else:
        pos += 1
    before: dict[str, str] | None = None
    if _present(data[pos]):
        before, pos = _read_values(data, pos + 1, depth)
    else:
        pos += 1
    fields, pos = _read_values(data, pos, depth)
    if pos != len(data):
        raise ValueError("bytes are left over")
    key = entity_type + ":" + entity_id
    return WireChange(
        key,
        entity_type,
        entity_id,
        event_id,
        OPS[op >> 1],
        source,
        version,
        occurred_at,
        seen,
        before,
        fields,
    )


def _present(branch: int) -> bool:
    """Read the branch of a union of null and one other type."""
    if branch == 2:
        return True
    if branch == 0:
        return False
    raise ValueError("no branch of a union of null and another type")


def _read_clock(data: bytes, pos: int) -> tuple[dict[str, int], int]:
    clock: dict[str, int] = {}
    total = 0
    while data[pos] != 0:
        count, pos, block_end = read_block(data, pos, _ENTRY_BYTES)
        total += count
        for _ in range(count):
            source, pos = read_name(data, pos)
            clock[source], pos = read_long(data, pos)
        if block_end != -1 and block_end != pos:
            raise ValueError("a block has another size than it says")
    if len(clock) != total:
        raise ValueError("a map names a key twice")
    return clock, pos + 1


def _read_values(data: bytes, pos: int, depth: int) -> tuple[dict[str, str], int]:
    values: dict[str, str] = {}
    total = 0
    while data[pos] != 0:
        count, pos, block_end = read_block(data, pos, _ENTRY_BYTES)
        total += count
        for _ in range(count):
            name, pos = read_name(data, pos)
            branch = data[pos]
            text, pos = read_value(data, pos)
            values[name] = text if branch != JSON else canonical_json(text, depth)
        if block_end != -1 and block_end != pos:
            raise ValueError("a block has another size than it says")
    if len(values) != total:
        raise ValueError("a map names a key twice")
    return values, pos + 1
