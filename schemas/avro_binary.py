"""Avro's binary form of what our schemas are made of: longs, strings, map and array blocks, the Value union.

Readers take the bytes and a position and return what they read with the position after it. They raise
IndexError where the bytes end early, UnicodeDecodeError (a ValueError) for text that is not UTF-8, and
ValueError for anything else that no writer of ours produces.
"""

from __future__ import annotations

import struct
from typing import Final

import orjson

from schemas.canonical import canonical_float, canonical_string

_DOUBLE: Final = struct.Struct("<d")

# The first byte of a Value: its branch of the union as a zigzag number.
NULL: Final = b"\x00"
TRUE: Final = b"\x02\x01"
FALSE: Final = b"\x02\x00"
LONG: Final = 4
DOUBLE: Final = 6
STRING: Final = 8
JSON: Final = 10
LONG_BRANCH: Final = b"\x04"
DOUBLE_BRANCH: Final = b"\x06"
STRING_BRANCH: Final = b"\x08"
JSON_BRANCH: Final = b"\x0a"


def encode_long(number: int) -> bytes:
    """Return the bytes of a signed 64-bit integer."""
    if -64 <= number < 64:
        return _ONE_BYTE[number + 64]
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_ONE_BYTE: Final = [bytes([number << 1 if number >= 0 else (-number << 1) - 1]) for number in range(-64, 64)]


def encode_string(text: str) -> bytes:
    """Return the bytes of a string. UnicodeEncodeError: a lone surrogate."""
    raw = text.encode()
    return encode_long(len(raw)) + raw


def encode_value(text: str) -> bytes:
    """Return the bytes of the Value union of a canonical JSON text."""
    first = text[0]
    if first == '"':
        return STRING_BRANCH + encode_string(orjson.loads(text) if "\\" in text else text[1:-1])
    if first == "{" or first == "[":
        return JSON_BRANCH + encode_string(text)
    if first == "n":
        return NULL
    if first == "t":
        return TRUE
    if first == "f":
        return FALSE
    if "." in text or "e" in text:
        return DOUBLE_BRANCH + _DOUBLE.pack(float(text))
    return LONG_BRANCH + encode_long(int(text))


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
    if branch == 0:
        return "null", pos
    if branch == JSON:
        return read_string(data, pos)
    if branch == DOUBLE:
        end = pos + 8
        if end > len(data):
            raise IndexError("a double goes on beyond the end")
        decimal: float = _DOUBLE.unpack_from(data, pos)[0]
        return canonical_float(decimal), end
    if branch == 2:
        flag = data[pos]
        if flag > 1:
            raise ValueError("a boolean is neither 0 nor 1")
        return "true" if flag else "false", pos + 1
    raise ValueError("a value is of no branch of the union")


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
