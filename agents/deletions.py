"""The position of a delete on `records`, where a deleted entity is a null that has no room for it.

Without it, an older record that comes late could bring the entity back into the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

POSITION_HEADER: Final = "syncline-position"


def deletion_headers(partition: int, offset: int) -> list[tuple[str, bytes]]:
    """Headers of a null on `records`; partition and offset of the change that deleted the entity."""
    return [(POSITION_HEADER, b"%d:%d" % (partition, offset))]


def deletion_offset(headers: Sequence[tuple[str, bytes]]) -> int:
    """The offset in `changes` that `deletion_headers` wrote. LookupError or ValueError: it is not there."""
    return int(dict(headers)[POSITION_HEADER].partition(b":")[2])
