"""A walk over Avro bytes before a decoder may touch them.

fastavro believes what the bytes say: five of them make it build an array of twenty million items, a wrong
enum index wraps round, any byte is a boolean. So a body is walked by its writer's schema first, without
building anything; what passes is well-formed and costs a decoder no more than its size. A schema itself is
refused if it is recursive, or has items without bytes, since no walk could bound those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.avro_binary import read_block, read_long, read_string

SCHEMA_DEPTH = 32
_FIXED_SIZES = {"null": 0, "float": 4, "double": 8}
_LEAST_BYTES = {"boolean": 1, "int": 1, "long": 1, "string": 1, "bytes": 1}


@dataclass(frozen=True)
class Shape:
    """One node of a schema. least_bytes: the fewest bytes a value of it has. size: symbols or bytes."""

    kind: str
    least_bytes: int
    size: int = 0
    parts: tuple[Shape, ...] = field(default=())


def shape_of(schema: Any) -> Shape:
    """Return the shape of an .avsc. ValueError: recursive, too deep, items without bytes, unknown type."""
    return _shape(schema, {}, 0)


def _shape(schema: Any, named: dict[str, Shape | None], depth: int) -> Shape:
    if depth > SCHEMA_DEPTH:
        raise ValueError(f"a schema is nested deeper than {SCHEMA_DEPTH}")
    if isinstance(schema, list):
        branches = tuple(_shape(branch, named, depth + 1) for branch in schema)
        return Shape("union", 1 + min(branch.least_bytes for branch in branches), 0, branches)
    if isinstance(schema, str):
        return _named_or_primitive(schema, named)
    kind = schema["type"]
    if kind == "record":
        named[schema["name"]] = None
        parts = tuple(_shape(part["type"], named, depth + 1) for part in schema["fields"])
        shape = Shape("record", sum(part.least_bytes for part in parts), 0, parts)
        named[schema["name"]] = shape
        return shape
    if kind == "enum":
        shape = named[schema["name"]] = Shape("enum", 1, len(schema["symbols"]))
        return shape
    if kind == "fixed":
        shape = named[schema["name"]] = Shape("fixed", schema["size"], schema["size"])
        return shape
    if kind in ("array", "map"):
        item = _shape(schema["items" if kind == "array" else "values"], named, depth + 1)
        if kind == "array" and item.least_bytes == 0:
            raise ValueError("a schema has an array whose items need no bytes")
        return Shape(kind, 1, 0, (item,))
    return _shape(kind, named, depth + 1)


def _named_or_primitive(name: str, named: dict[str, Shape | None]) -> Shape:
    if name in _FIXED_SIZES:
        return Shape("fixed", _FIXED_SIZES[name], _FIXED_SIZES[name])
    if name in _LEAST_BYTES:
        return Shape(name, _LEAST_BYTES[name])
    shape = named.get(name.removeprefix("syncline."))
    if shape is None:
        raise ValueError(f"a schema refers to {name!r}, which is unknown there or recursive")
    return shape


def scan(shape: Shape, data: bytes, pos: int) -> int:
    """Walk over one value and return the position after it.

    IndexError: the bytes end early. UnicodeDecodeError: text that is not UTF-8. ValueError: anything else.
    """
    kind = shape.kind
    if kind == "record":
        for part in shape.parts:
            pos = scan(part, data, pos)
        return pos
    if kind == "string":
        return read_string(data, pos)[1]
    if kind == "long":
        return read_long(data, pos)[1]
    if kind == "union":
        index, pos = read_long(data, pos)
        if not 0 <= index < len(shape.parts):
            raise ValueError(f"branch {index} of a union that has {len(shape.parts)}")
        return scan(shape.parts[index], data, pos)
    if kind in ("map", "array"):
        return _scan_blocks(shape.parts[0], kind == "map", data, pos)
    return _scan_scalar(shape, data, pos)


def _scan_blocks(item: Shape, is_map: bool, data: bytes, pos: int) -> int:
    names: set[str] = set()
    while True:
        count, pos, block_end = read_block(data, pos, item.least_bytes + is_map)
        for _ in range(count):
            if is_map:
                name, pos = read_string(data, pos)
                if name in names:
                    raise ValueError("a map names a key twice")
                names.add(name)
            pos = scan(item, data, pos)
        if block_end not in (-1, pos):
            raise ValueError("a block has another size than it says")
        if count == 0:
            return pos


def _scan_scalar(shape: Shape, data: bytes, pos: int) -> int:
    kind = shape.kind
    if kind == "fixed" or kind == "bytes":
        size = shape.size
        if kind == "bytes":
            size, pos = read_long(data, pos)
        if size < 0 or pos + size > len(data):
            raise IndexError("bytes go on beyond the end")
        return pos + size
    if kind == "boolean":
        if data[pos] > 1:
            raise ValueError("a boolean is neither 0 nor 1")
        return pos + 1
    number, pos = read_long(data, pos)
    if kind == "enum" and not 0 <= number < shape.size:
        raise ValueError(f"symbol {number} of an enum that has {shape.size}")
    if kind == "int" and not -(2**31) <= number < 2**31:
        raise ValueError("an int has more than 32 bits")
    return pos
