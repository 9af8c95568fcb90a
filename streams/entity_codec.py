"""The state of one entity <-> the bytes of `schemas/entity_state.avsc`, as the table's changelog holds them.

What writes share is stored once: a dot in `dots`, a clock in `clocks`, and the rest refers to them by index. The
state's position comes first, so that `position_of` need not read the rest.
"""

from __future__ import annotations

import itertools
from typing import Final

from schemas.avro_binary import encode_long, read_block, read_long, read_string, read_value
from schemas.rules import OPS
from streams.causality import Clock
from streams.encoding import END, OP_INDEX, dot_bytes, encode_clock, encode_name, value_bytes
from streams.entity import TOMBSTONE, TOUCH, Dot, Entity, Replaced, Write

SCHEMA_ID: Final = 5
_ROUNDS: Final = itertools.count(1)
_HEADER: Final = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
UNKNOWN: Final = encode_long(-1)


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
    body: list[bytes] = []
    _add_stamps(body, entity.touches, tables)
    _add_stamps(body, entity.tombstones, tables)
    if entity.fields:
        body.append(encode_long(len(entity.fields)))
        for name, writes in entity.fields.items():
            body.append(encode_name(name))
            body.append(encode_long(len(writes)))
            for write in writes:
                body.append(tables.dot(write.dot))
                body.append(tables.clock(write.seen))
                body.append(write.stored or _stored(write))
            body.append(END)
    body.append(END)
    head = [_HEADER, encode_long(partition), encode_long(entity.offset)]
    tables.add_to(head)
    return b"".join(head + body)


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

    __slots__ = ("clocks", "dots", "known_clocks", "round")

    def __init__(self) -> None:
        # A number of its own for each state that is written tells whether a dot's index is of this one.
        self.round = next(_ROUNDS)
        self.dots: list[Dot] = []
        self.clocks: list[Clock] = []
        self.known_clocks: dict[int, bytes] = {}

    def dot(self, dot: Dot) -> bytes:
        if dot.round != self.round:
            dot.round = self.round
            dot.index = encode_long(len(self.dots))
            self.dots.append(dot)
        return dot.index

    def clock(self, clock: Clock | None) -> bytes:
        if clock is None:
            return UNKNOWN
        index = self.known_clocks.get(id(clock))
        if index is None:
            index = self.known_clocks[id(clock)] = encode_long(len(self.clocks))
            self.clocks.append(clock)
        return index

    def add_to(self, out: list[bytes]) -> None:
        """Adds the clocks and then the dots, whose own clocks are met only here."""
        dots: list[bytes] = []
        for dot in self.dots:
            dots.append(dot_bytes(dot))
            dots.append(encode_long(OP_INDEX[dot.op]))
            dots.append(self.clock(dot.seen))
        if self.clocks:
            out.append(encode_long(len(self.clocks)))
            for clock in self.clocks:
                out.append(encode_clock(clock))
        out.append(END)
        if dots:
            out.append(encode_long(len(self.dots)))
            out += dots
        out.append(END)


def _add_stamps(out: list[bytes], writes: list[Write], tables: _Tables) -> None:
    if writes:
        out.append(encode_long(len(writes)))
        for write in writes:
            out.append(tables.dot(write.dot))
            out.append(tables.clock(write.seen))
    out.append(END)


def _stored(write: Write) -> bytes:
    """Value, before and what was replaced: the same in every state that holds the write."""
    replaced = _replaced(write.replaced) if write.replaced else END
    stored = write.stored = value_bytes(write) + encode_long(write.before) + replaced
    return stored


def _replaced(replaced: Replaced) -> bytes:
    parts = [encode_long(len(replaced))]
    for value, (version, occurred_at) in replaced.items():
        parts.append(value.to_bytes(8, "big"))
        parts.append(encode_long(version))
        parts.append(encode_long(occurred_at))
    parts.append(END)
    return b"".join(parts)


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
            dots.append(Dot(source, version, occurred_at, OPS[op], event_id, _clock(clocks, seen)))
        count, pos, _ = read_block(data, pos, 6)
    return dots, pos


def _clock(clocks: list[Clock], index: int) -> Clock | None:
    return None if index < 0 else clocks[index]


def _read_stamps(data: bytes, pos: int, writes: list[Write], value: str, dots: list[Dot], clocks: list[Clock]) -> int:
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
    seen, pos = read_long(data, pos)
    value, pos = read_value(data, pos)
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
