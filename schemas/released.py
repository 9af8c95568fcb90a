"""The table of released schemas, ids.json: the only writers whose records are read (an allow-list).

An id is never reused and a released file never changes. A new version of a schema is a new file under
released/ and a new line in the table, and x.avsc beside the model is equal to the newest of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastavro import parse_schema

from schemas.avro_scan import Shape, shape_of

HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Released:
    """One line of the table. schema: as fastavro parsed it. shape: what its bytes must look like."""

    schema_id: int
    record: str
    fingerprint: str
    schema: Any
    shape: Shape

    @property
    def frame(self) -> bytes:
        """What stands before each body: the magic byte and the id, big-endian."""
        return b"\x00" + self.schema_id.to_bytes(4, "big")


def load_table(path: Path) -> dict[int, Released]:
    """Read a table of released schemas; the files are named relative to it."""
    table = {}
    for number, line in json.loads(path.read_text()).items():
        raw = json.loads((path.parent / line["file"]).read_text())
        # A fresh dict of named types: records of different schemas may share a name.
        schema = parse_schema(raw, {})
        table[int(number)] = Released(int(number), line["record"], line["fingerprint"], schema, shape_of(raw))
    return table


TABLE: Final = load_table(HERE / "ids.json")


def newest(record: str) -> Released:
    """Return the newest released schema of a record, which is the one that is written."""
    return TABLE[max(number for number, line in TABLE.items() if line.record == record)]
