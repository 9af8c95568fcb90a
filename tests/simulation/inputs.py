"""What sources publish: histories of a few entities that meet, repeat themselves, go wrong and are put right."""

from __future__ import annotations

import json
from random import Random
from typing import Any
from zlib import crc32

from agents.dead_letters import Row
from schemas.change import Change
from schemas.codec import encode_change
from streams.effects import ViewRow

SOURCES = ("crm", "billing", "web", "steward:ana")
FIELDS = ("email", "name", "tags", "total")
VALUES: tuple[Any, ...] = (
    None,
    True,
    1,
    1.0,
    2**53 + 1,
    -0.0,
    1e21,
    "",
    "a",
    "b",
    "\u00e9",
    [],
    ["a"],
    ["b", 1],
    {"k": 1},
)
OPS = ("create", "update", "update", "update", "update", "delete", "snapshot")

#: Policies under which every resolver and every on_delete is met; `sources` makes unknown ones possible.
POLICIES: tuple[dict[str, Any], ...] = (
    {"sources": {"crm": {}, "billing": {}, "web": {}}},
    {
        "priority": ["billing", "crm"],
        "entities": {
            "customer": {
                "resolver": "source_priority",
                "on_delete": "delete_wins",
                "fields": {"tags": {"resolver": "union"}, "total": {"resolver": "sum"}},
            }
        },
    },
    {
        "convergence_window": "5s",
        "entities": {
            "customer": {
                "resolver": "keep_siblings",
                "on_delete": "last_update_wins",
                "fields": {"email": {"resolver": "manual"}, "total": {"resolver": "max"}},
            }
        },
    },
    {
        "priority": ["web"],
        "entities": {
            "customer": {
                "resolver": "authority",
                "on_delete": "source_priority",
                "field_groups": {"card": {"fields": ["email", "name"], "resolver": "first_update_wins"}},
            }
        },
    },
)


def partition_of(key: bytes, partitions: int) -> int:
    """Which partition has an entity; any rule will do as long as it is always the same."""
    return crc32(key) % partitions


class Inputs:
    """Makes records for `changes`, of as many entities. valid: what was made, as changes, in the order of making."""

    def __init__(self, random: Random, entities: int) -> None:
        self._random = random
        self._entities = entities
        self._versions: dict[tuple[str, str], int] = {}
        self._earlier: list[Row] = []

    def next(self, now_ms: int, golden: dict[bytes, ViewRow]) -> Row:
        """One record. golden: what readers can know of each entity, for `seen` and `before`."""
        random = self._random
        if self._earlier and random.random() < 0.08:
            return random.choice(self._earlier)
        change = self.change(str(random.randrange(self._entities)), now_ms, golden)
        key = f"customer:{change['entity_id']}".encode()
        row = Row(key, encode_change(Change(**change)))
        if random.random() < 0.08:
            row = self._spoiled(row)
        self._earlier.append(row)
        return row

    def change(self, entity: str, now_ms: int, golden: dict[bytes, ViewRow]) -> dict[str, Any]:
        """One change of an entity in its JSON form."""
        random = self._random
        source = random.choice(SOURCES)
        newest = self._versions.get((entity, source), 0)
        version = max(1, newest + random.choice((1, 1, 1, 1, 2, 0, -1)))
        self._versions[entity, source] = max(newest, version)
        op = random.choice(OPS)
        known = golden.get(f"customer:{entity}".encode())
        names = random.sample(FIELDS, random.randint(0 if source.startswith("steward") else 1, 3))
        return {
            "event_id": f"{source}-{version}-{random.randrange(2)}",
            "entity_type": "customer",
            "entity_id": entity,
            "op": op,
            "source": source,
            "version": version,
            "occurred_at": now_ms - random.choice((0, 1, 500, 1000, 1001, 6000, 20_000, -60_001)),
            "seen": self._seen(known),
            "before": self._before(known),
            "fields": {} if op == "delete" else {name: random.choice(VALUES) for name in names},
        }

    def _seen(self, known: ViewRow | None) -> dict[str, int] | None:
        if self._random.random() < 0.6:
            return None
        return {} if known is None else json.loads(known.clock)

    def _before(self, known: ViewRow | None) -> dict[str, Any] | None:
        if self._random.random() < 0.6:
            return None
        document = {} if known is None or known.doc is None else json.loads(known.doc)
        return {name: document.get(name) for name in self._random.sample(FIELDS, 2)}

    def _spoiled(self, row: Row) -> Row:
        value = row.value or b""
        return self._random.choice(
            (
                Row(None, value),
                Row(row.key, None),
                Row(row.key, value[:-2]),
                Row(row.key, b"{}"),
                Row(row.key, value[:4] + b"\xff" + value[5:]),
                Row(b"customer:\xff", value),
                Row(b"customer:other", value),
            )
        )
