"""The state of one entity <-> the bytes of `schemas/entity_state.avsc`, as the table's changelog holds them.

What writes share is stored once: a dot in `dots`, a clock in `clocks`, and the rest refers to them by index. The
state's position comes first, so that `position_of` need not read the rest.
"""

from __future__ import annotations

from typing import Final

from schemas.avro_binary import (
    read_block,
    read_long,
    read_string,
    read_value,
    write_long,
    write_string,
    write_value,
)
from schemas.fast import encode_provenance
from streams.causality import Clock
from streams.entity import TOMBSTONE, TOUCH, Dot, Entity, Replaced, Write

SCHEMA_ID: Final = 5
_HEADER: Final = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
_OPS: Final = ("create", "update", "delete", "snapshot")
OP_INDEX: Final = {op: index for index, op in enumerate(_OPS)}


class StateCorrupt(ValueError):
    """A record of the changelog that is no entity state; the message says at which byte."""


def position_of(data: bytes) -> int:
    """The offset in its partition of the last change in a stored state. Raises StateCorrupt."""
    if data[:5] != _HEADER:
        raise StateCorrupt(f"state begins with {data[:5].hex()}, and must begin with {_HEADER.hex()}")
    _, pos = read_long(data, 5)
    return read_long(data, pos)[0]


def encode_entity(entity: Entity, partition: int) -> bytes:
    """Bytes of a state, framed with its schema id."""
    tables = _Tables()
    body = bytearray()
    _write_stamps(body, entity.touches, tables)
    _write_stamps(body, entity.tombstones, tables)
    if entity.fields:
        write_long(body, len(entity.fields))
        for name, writes in entity.fields.items():
            write_string(body, name)
            write_long(body, len(writes))
            for write in writes:
                _write_write(body, write, tables)
            body.append(0)
    body.append(0)
    out = bytearray(_HEADER)
    write_long(out, partition)
    write_long(out, entity.offset)
    tables.write(out)
    out += body
    return bytes(out)


def decode_entity(data: bytes) -> Entity:
    """State from its bytes. Raises StateCorrupt."""
    entity = Entity()
    entity.offset = position_of(data)
    try:
        _, pos = read_long(data, 5)
        _, pos = read_long(data, pos)
        clocks, pos = _read_clocks(data, pos)
        dots, pos = _read_dots(data, pos, clocks)
        pos = _read_stamps(data, pos, entity.touches, TOUCH, dots, clocks)
        pos = _read_stamps(data, pos, entity.tombstones, TOMBSTONE, dots, clocks)
        pos = _read_fields(data, pos, entity, dots, clocks)
    except (IndexError, ValueError) as error:
        raise StateCorrupt(f"state of {len(data)} bytes does not decode: {error}") from error
    if pos != len(data):
        raise StateCorrupt(f"state of {len(data)} bytes ends at byte {pos}")
    return entity


class _Tables:
    """The dots and clocks of one state, each given an index when it is first met."""

    __slots__ = ("clocks", "dots", "known_clocks", "known_dots")

    def __init__(self) -> None:
        self.dots: list[Dot] = []
        self.known_dots: dict[int, int] = {}
        self.clocks: list[Clock] = []
        self.known_clocks: dict[int, int] = {}

    def dot(self, dot: Dot) -> int:
        index = self.known_dots.get(id(dot))
        if index is None:
            index = self.known_dots[id(dot)] = len(self.dots)
            self.dots.append(dot)
        return index

    def clock(self, clock: Clock | None) -> int:
        if clock is None:
            return -1
        index = self.known_clocks.get(id(clock))
        if index is None:
            index = self.known_clocks[id(clock)] = len(self.clocks)
            self.clocks.append(clock)
        return index

    def write(self, out: bytearray) -> None:
        dots = bytearray()
        write_long(dots, len(self.dots))
        for dot in self.dots:
            dots += provenance(dot)
            dots.append(OP_INDEX[dot.op] << 1)
            write_long(dots, self.clock(dot.seen))
        dots.append(0)
        if self.clocks:
            write_long(out, len(self.clocks))
            for clock in self.clocks:
                if clock:
                    write_long(out, len(clock))
                    for source, version in clock.items():
                        write_string(out, source)
                        write_long(out, version)
                out.append(0)
        out.append(0)
        out += dots if self.dots else b"\x00"


def provenance(dot: Dot) -> bytes:
    """The encoded provenance of a dot, made once: every field that it wins carries the same bytes."""
    encoded = dot.provenance
    if encoded is None:
        encoded = dot.provenance = encode_provenance(dot.source, dot.version, dot.occurred_at, dot.event_id)
    return encoded


def _write_stamps(out: bytearray, writes: list[Write], tables: _Tables) -> None:
    if writes:
        write_long(out, len(writes))
        for write in writes:
            write_long(out, tables.dot(write.dot))
            write_long(out, tables.clock(write.seen))
    out.append(0)


def _write_write(out: bytearray, write: Write, tables: _Tables) -> None:
    write_long(out, tables.dot(write.dot))
    write_value(out, write.value)
    write_long(out, tables.clock(write.seen))
    write_long(out, write.before)
    if write.replaced:
        write_long(out, len(write.replaced))
        for value, (version, occurred_at) in write.replaced.items():
            out += value.to_bytes(8, "big")
            write_long(out, version)
            write_long(out, occurred_at)
    out.append(0)


def _read_clocks(data: bytes, pos: int) -> tuple[list[Clock], int]:
    clocks: list[Clock] = []
    count, pos, _ = read_block(data, pos, 1)
    while count:
        for _ in range(count):
            clock: Clock = {}
            entries, pos, _ = read_block(data, pos, 2)
            while entries:
                for _ in range(entries):
                    source, pos = read_string(data, pos)
                    clock[source], pos = read_long(data, pos)
                entries, pos, _ = read_block(data, pos, 2)
            clocks.append(clock)
        count, pos, _ = read_block(data, pos, 1)
    return clocks, pos


def _read_dots(data: bytes, pos: int, clocks: list[Clock]) -> tuple[list[Dot], int]:
    dots: list[Dot] = []
    count, pos, _ = read_block(data, pos, 6)
    while count:
        for _ in range(count):
            source, pos = read_string(data, pos)
            version, pos = read_long(data, pos)
            occurred_at, pos = read_long(data, pos)
            event_id, pos = read_string(data, pos)
            op, pos = read_long(data, pos)
            seen, pos = read_long(data, pos)
            dots.append(Dot(source, version, occurred_at, _OPS[op], event_id, _clock(clocks, seen)))
        count, pos, _ = read_block(data, pos, 6)
    return dots, pos


def _clock(clocks: list[Clock], index: int) -> Clock | None:
    return None if index < 0 else clocks[index]


def _read_stamps(
    data: bytes, pos: int, writes: list[Write], value: str, dots: list[Dot], clocks: list[Clock]
) -> int:
    count, pos, _ = read_block(data, pos, 2)
    while count:
        for _ in range(count):
            dot, pos = read_long(data, pos)
            seen, pos = read_long(data, pos)
            writes.append(Write(dots[dot], value, 0, _clock(clocks, seen), None))
        count, pos, _ = read_block(data, pos, 2)
    return pos


def _read_fields(data: bytes, pos: int, entity: Entity, dots: list[Dot], clocks: list[Clock]) -> int:
    count, pos, _ = read_block(data, pos, 2)
    while count:
        for _ in range(count):
            name, pos = read_string(data, pos)
            writes: list[Write] = []
            entity.fields[name] = writes
            entries, pos, _ = read_block(data, pos, 5)
            while entries:
                for _ in range(entries):
                    write, pos = _read_write(data, pos, dots, clocks)
                    writes.append(write)
                    entity.stewarded = entity.stewarded or write.dot.by_steward
                entries, pos, _ = read_block(data, pos, 5)
        count, pos, _ = read_block(data, pos, 2)
    return pos


def _read_write(data: bytes, pos: int, dots: list[Dot], clocks: list[Clock]) -> tuple[Write, int]:
    dot, pos = read_long(data, pos)
    value, pos = read_value(data, pos)
    seen, pos = read_long(data, pos)
    before, pos = read_long(data, pos)
    replaced: Replaced = {}
    count, pos, _ = read_block(data, pos, 10)
    while count:
        for _ in range(count):
            value_hash = int.from_bytes(data[pos : pos + 8], "big")
            version, pos = read_long(data, pos + 8)
            when, pos = read_long(data, pos)
            replaced[value_hash] = (version, when)
        count, pos, _ = read_block(data, pos, 10)
    return Write(dots[dot], value, before, _clock(clocks, seen), replaced or None), pos
