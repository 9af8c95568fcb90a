"""The state of one entity <-> the bytes of `schemas/entity_state.avsc`, as the table's changelog holds them.

What writes share is stored once: a dot in `dots`, a clock in `clocks`, and the rest refers to them by index. The
state's position comes first, so that `position_of` need not read the rest. What is read keeps the bytes of its dots
and values: they are written again with the next change.
"""

from __future__ import annotations

import itertools
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import mypyc_attr

from schemas.avro_binary import read_block, read_long, read_name, skip_string, skip_value, write_long
from schemas.rules import OPS
from streams.causality import Clock
from streams.conflict_budget import ConflictBudget
from streams.encoding import END, OP_INDEX, write_clock
from streams.entity import TOMBSTONE, TOUCH, Dot, Entity, Replaced, Write
from streams.names import name_of

SCHEMA_ID: Final = 8
#: Has no budget of conflict records.
FIRST_SCHEMA_ID: Final = 5
_ROUNDS: Final = itertools.count(1)
_HEADER: Final = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
_FIRST_HEADER: Final = b"\x00" + FIRST_SCHEMA_ID.to_bytes(4, "big")
# The index -1, zigzag.
UNKNOWN: Final = 1


class StateCorrupt(ValueError):
    """A record of the changelog that is no entity state; the message says at which byte."""


def position_of(data: bytes) -> int:
    """The offset in its partition of the last change in a stored state. Raises StateCorrupt."""
    if data[:5] != _HEADER and data[:5] != _FIRST_HEADER:
        raise StateCorrupt(f"state begins with {data[:5].hex()}, and must begin with {_HEADER.hex()}")
    _, pos = read_long(data, 5)
    return read_long(data, pos)[0]


def encode_entity(entity: Entity, partition: int) -> bytes:
    """Bytes of a state, framed with its schema id."""
    body = _Body()
    body.write_stamps(entity.touches)
    body.write_stamps(entity.tombstones)
    out, fields = body.out, entity.fields
    if fields:
        write_long(out, len(fields))
        for name, writes in fields.items():
            out.write(name_of(name).encoded)
            write_long(out, len(writes))
            for write in writes:
                body.write_stamp(write)
                out.write(write.encoded)
                out.append(write.before << 1)
                if write.replaced:
                    _write_replaced(out, write.replaced)
                out.append(END)
            out.append(END)
    out.append(END)
    _write_budget(out, entity.budget)
    head = BytesWriter()
    head.write(_HEADER)
    write_long(head, partition)
    write_long(head, entity.offset)
    body.write_tables(head)
    head.write(out.getvalue())
    return head.getvalue()


def empty_state(partition: int, offset: int) -> bytes:
    """Bytes of a state that has nothing but a position."""
    entity = Entity()
    entity.offset = offset
    return encode_entity(entity, partition)


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
        if data[:5] == _HEADER:
            pos = _read_budget(data, pos, entity)
    except (IndexError, ValueError) as error:
        raise StateCorrupt(f"state of {len(data)} bytes does not decode: {error}") from error
    if pos != len(data):
        raise StateCorrupt(f"state of {len(data)} bytes ends at byte {pos}")
    return entity


@mypyc_attr(acyclic=True)
class _Body:
    """The part of a state that refers to dots and clocks, each of which gets an index when it is first met."""

    __slots__ = ("clocks", "dots", "known_clocks", "out", "round")

    def __init__(self) -> None:
        self.out = BytesWriter()
        # A number of its own for each state that is written tells whether a dot's index is of this one.
        self.round: int = next(_ROUNDS)
        self.dots: list[Dot] = []
        self.clocks: list[Clock] = []
        self.known_clocks: dict[int, int] = {}

    def write_stamp(self, write: Write) -> None:
        """Append who wrote, and what the writer had read."""
        dot = write.dot
        if dot.round != self.round:
            dot.round = self.round
            dot.index = len(self.dots)
            self.dots.append(dot)
        write_long(self.out, dot.index)
        self._write_clock_index(self.out, write.seen)

    def write_stamps(self, writes: list[Write]) -> None:
        """Append touches or tombstones."""
        if writes:
            write_long(self.out, len(writes))
            for write in writes:
                self.write_stamp(write)
        self.out.append(END)

    def write_tables(self, out: BytesWriter) -> None:
        """Append the clocks and then the dots, whose own clocks are met only here."""
        dots = BytesWriter()
        if self.dots:
            write_long(dots, len(self.dots))
            for dot in self.dots:
                dots.write(dot.encoded)
                write_long(dots, OP_INDEX[dot.op])
                self._write_clock_index(dots, dot.seen)
        dots.append(END)
        if self.clocks:
            write_long(out, len(self.clocks))
            for clock in self.clocks:
                write_clock(out, clock)
        out.append(END)
        out.write(dots.getvalue())

    def _write_clock_index(self, out: BytesWriter, clock: Clock | None) -> None:
        if clock is None:
            out.append(UNKNOWN)
            return
        index = self.known_clocks.get(id(clock))
        if index is None:
            index = self.known_clocks[id(clock)] = len(self.clocks)
            self.clocks.append(clock)
        write_long(out, index)


def _write_replaced(out: BytesWriter, replaced: Replaced) -> None:
    write_long(out, len(replaced))
    for value, (version, occurred_at) in replaced.items():
        out.write(value.to_bytes(8, "big"))
        write_long(out, version)
        write_long(out, occurred_at)


def _write_budget(out: BytesWriter, budget: ConflictBudget | None) -> None:
    if budget is None:
        out.append(END)
        return
    out.append(2)  # the second branch of the union, zigzag
    write_long(out, budget.minute)
    write_long(out, budget.found)
    write_long(out, budget.left_out)


def _read_budget(data: bytes, pos: int, entity: Entity) -> int:
    branch, pos = read_long(data, pos)
    if branch:
        minute, pos = read_long(data, pos)
        found, pos = read_long(data, pos)
        left_out, pos = read_long(data, pos)
        entity.budget = ConflictBudget(minute, found, left_out)
    return pos


def _read_clocks(data: bytes, pos: int) -> tuple[list[Clock], int]:
    clocks: list[Clock] = []
    count, pos, _ = read_block(data, pos, 1)
    while count:
        for _ in range(count):
            clock: Clock = {}
            entries, pos, _ = read_block(data, pos, 2)
            while entries:
                for _ in range(entries):
                    source, pos = read_name(data, pos)
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
            begin = pos
            source, pos = read_name(data, pos)
            version, pos = read_long(data, pos)
            occurred_at, pos = read_long(data, pos)
            id_at = pos - begin
            end = skip_string(data, pos)
            op, pos = read_long(data, end)
            seen, pos = read_long(data, pos)
            dots.append(Dot(source, version, occurred_at, OPS[op], None, _clock(clocks, seen), data[begin:end], id_at))
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
            name, pos = read_name(data, pos)
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
    begin = pos
    end = pos = skip_value(data, pos)
    before, pos = read_long(data, pos)
    replaced: Replaced | None = None
    count, pos, _ = read_block(data, pos, 10)
    while count:
        if replaced is None:
            replaced = {}
        for _ in range(count):
            value_hash = int.from_bytes(data[pos : pos + 8], "big")
            version, pos = read_long(data, pos + 8)
            when, pos = read_long(data, pos)
            replaced[value_hash] = (version, when)
        count, pos, _ = read_block(data, pos, 10)
    return Write(dots[dot], None, before, _clock(clocks, seen), replaced, data[begin:end]), pos
