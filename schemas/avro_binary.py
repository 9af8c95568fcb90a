"""Avro's binary form of what our schemas are made of: longs, strings, map and array blocks, the Value union.

Writers append to a `BytesWriter`. Readers take the bytes and a position and return what they read with the
position after it. They raise IndexError where the bytes end early, UnicodeDecodeError (a ValueError) for text that
is not UTF-8, and ValueError for anything else that no writer of ours produces.
"""

from __future__ import annotations

from typing import Final

import orjson
from librt.strings import BytesWriter, read_f64_le, write_f64_le

from schemas.canonical import canonical_float, canonical_string

# The first byte of a Value: its branch of the union as a zigzag number.
NULL: Final = 0
BOOLEAN: Final = 2
LONG: Final = 4
DOUBLE: Final = 6
STRING: Final = 8
JSON: Final = 10


def write_long(out: BytesWriter, number: int) -> None:
    """Append a signed 64-bit integer."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)


def write_string(out: BytesWriter, text: str) -> None:
    """Append a string. UnicodeEncodeError: a lone surrogate."""
    raw = text.encode()
    write_long(out, len(raw))
    out.write(raw)


def write_value(out: BytesWriter, text: str) -> None:
    """Append the Value union of a canonical JSON text."""
    first = text[0]
    if first == '"':
        out.append(STRING)
        write_string(out, orjson.loads(text) if "\\" in text else text[1:-1])
    elif first == "{" or first == "[":
        out.append(JSON)
        write_string(out, text)
    elif first == "n":
        out.append(NULL)
    elif first == "t" or first == "f":
        out.append(BOOLEAN)
        out.append(1 if first == "t" else 0)
    elif "." in text or "e" in text:
        out.append(DOUBLE)
        write_f64_le(out, float(text))
    else:
        out.append(LONG)
        write_long(out, int(text))


def encode_long(number: int) -> bytes:
    """The bytes of `write_long`."""
    out = BytesWriter()
    write_long(out, number)
    return out.getvalue()


def encode_string(text: str) -> bytes:
    """The bytes of `write_string`."""
    out = BytesWriter()
    write_string(out, text)
    return out.getvalue()


def encode_value(text: str) -> bytes:
    """The bytes of `write_value`."""
    out = BytesWriter()
    write_value(out, text)
    return out.getvalue()


def read_long(data: bytes, pos: int) -> tuple[int, int]:
    """Read a signed 64-bit integer. ValueError: more than 64 bits, or padded with empty groups."""
    byte = data[pos]
    pos += 1
    if byte < 128:
        return byte >> 1 if not byte & 1 else -(byte >> 1) - 1, pos
    number = byte & 127
    shift = 7
    while True:
        byte = data[pos]
        pos += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise ValueError("an integer has more than ten bytes")
    if byte == 0 or number >> 64:
        raise ValueError("an integer is padded or has more than 64 bits")
    return number >> 1 if not number & 1 else -(number >> 1) - 1, pos


def read_string(data: bytes, pos: int) -> tuple[str, int]:
    """Read a string. ValueError: negative length."""
    size = data[pos]
    if size < 128 and not size & 1:
        # One byte of length, as nearly always: the call of read_long would cost more than the rest.
        pos += 1
        end = pos + (size >> 1)
    else:
        size, pos = read_long(data, pos)
        if size < 0:
            raise ValueError("a string has a negative length")
        end = pos + size
    if end > len(data):
        raise IndexError("a string goes on beyond the end")
    return data[pos:end].decode(), end


# Names of types, sources and fields come again and again: each is one string, which is quick to compare and to look
# up. A producer that invents names must not fill memory.
MOST_NAMES: Final = 10_000
_names: Final[dict[bytes, str]] = {}


def read_name(data: bytes, pos: int) -> tuple[str, int]:
    """Read a string that comes often. As `read_string`."""
    size = data[pos]
    end = pos + 1 + (size >> 1)
    if size > 127 or size & 1 or end > len(data):
        return read_string(data, pos)
    raw = data[pos + 1 : end]
    name = _names.get(raw)
    if name is None:
        name, end = read_string(data, pos)
        if len(_names) >= MOST_NAMES:
            _names.clear()
        _names[raw] = name
    return name, end


def read_value(data: bytes, pos: int) -> tuple[str, int]:
    """Read a Value as its canonical JSON text. The text of a Json branch is returned as it is, unread."""
    branch = data[pos]
    pos += 1
    if branch == STRING:
        text, pos = read_string(data, pos)
        return canonical_string(text), pos
    if branch == LONG:
        number, pos = read_long(data, pos)
        return str(number), pos
    if branch == NULL:
        return "null", pos
    if branch == JSON:
        return read_string(data, pos)
    if branch == DOUBLE:
        end = pos + 8
        if end > len(data):
            raise IndexError("a double goes on beyond the end")
        return canonical_float(read_f64_le(data, pos)), end
    if branch == BOOLEAN:
        flag = data[pos]
        if flag > 1:
            raise ValueError("a boolean is neither 0 nor 1")
        return "true" if flag else "false", pos + 1
    raise ValueError("a value is of no branch of the union")


def skip_string(data: bytes, pos: int) -> int:
    """Position after a string, whose bytes are not looked at. ValueError: negative length."""
    size, pos = read_long(data, pos)
    if size < 0:
        raise ValueError("a string has a negative length")
    if pos + size > len(data):
        raise IndexError("a string goes on beyond the end")
    return pos + size


def skip_value(data: bytes, pos: int) -> int:
    """Position after a Value. Its text is not looked at; all else is checked as by `read_value`."""
    branch = data[pos]
    return skip_string(data, pos + 1) if branch in (STRING, JSON) else read_value(data, pos)[1]


def read_block(data: bytes, pos: int, item_bytes: int) -> tuple[int, int, int]:
    """Read the head of a block of a map or an array whose items have at least item_bytes bytes each.

    Returns the number of items (0: there are no more), the position of the first, and where the block must
    end, or -1 where its writer did not say. A count that the rest of the bytes cannot hold is IndexError,
    so nothing is ever reserved or repeated on the word of a few bytes.
    """
    count, pos = read_long(data, pos)
    block_end = -1
    if count < 0:
        count = -count
        size, pos = read_long(data, pos)
        block_end = pos + size
        if size < 0:
            raise ValueError("a block has a negative size")
    if count * item_bytes > len(data) - pos:
        raise IndexError("a block has more items than bytes are left")
    return count, pos, block_end
