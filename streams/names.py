"""Names of fields and sources as they are written: few come, again and again."""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from schemas.avro_binary import encode_string
from schemas.canonical import canonical_string

# A producer that invents names must not fill memory.
MOST_NAMES: Final = 10_000


@mypyc_attr(acyclic=True)
class Name:
    """A name in both its forms. encoded: Avro's bytes. quoted: a JSON string."""

    __slots__ = ("encoded", "quoted")

    def __init__(self, text: str) -> None:
        self.encoded: Final = encode_string(text)
        self.quoted: Final = canonical_string(text)


_names: Final[dict[str, Name]] = {}


def name_of(text: str) -> Name:
    """The forms of a name, made once for each."""
    name = _names.get(text)
    if name is None:
        if len(_names) >= MOST_NAMES:
            _names.clear()
        name = _names[text] = Name(text)
    return name
