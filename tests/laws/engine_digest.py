"""Prints a digest of all that the engine does with a seeded log, and whether it ran compiled. Run as a program."""

from __future__ import annotations

import hashlib
import random
from typing import Any, NamedTuple

from schemas.change import Change
from schemas.codec import encode_change
from streams import batch
from streams.policy import parse_policy
from streams.resolvers import RESOLVERS

SOURCES = ("crm", "billing", "web", "steward:ana")
VALUES: tuple[Any, ...] = (None, True, 1, 1.0, -0.0, 1e16, 2**53 + 1, "", "a", "b", "\u00e9\n", ["b", "a"], {"k": [1]})
FIELDS = tuple(RESOLVERS)
CHANGES = 4_000
BATCH = 97


class Record(NamedTuple):
    """One record of the topic `changes`."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


def log(seed: int) -> list[Record]:
    """Changes of few entities by few sources, each field under another resolver; dots are reused, bytes are cut."""
    chosen = random.Random(seed)
    records = []
    for offset in range(CHANGES):
        op = chosen.choice(("create", "update", "update", "update", "delete", "snapshot"))
        names = chosen.sample(FIELDS, chosen.randrange(4))
        clock = {source: chosen.randrange(40) for source in chosen.sample(SOURCES, chosen.randrange(4))}
        change = Change(
            event_id=f"e{chosen.randrange(CHANGES)}",
            entity_type="customer",
            entity_id=str(chosen.randrange(40)),
            op=op,
            source=chosen.choice(SOURCES),
            version=chosen.randrange(1, 40),
            occurred_at=chosen.randrange(20_000),
            seen=chosen.choice((None, clock)),
            before=chosen.choice((None, {name: chosen.choice(VALUES) for name in names})),
            fields={} if op == "delete" else {name: chosen.choice(VALUES) for name in names},
        )
        value = encode_change(change)
        length = chosen.choice((len(value) - 1, len(value), len(value)))
        records.append(Record(offset, 50_000, change.key.encode(), value[:length]))
    return records


def main() -> None:
    """One line: compiled or interpreted, and the SHA-256 over all effects in their order."""
    fields = {name: {"resolver": name, "order": ["billing", "crm"]} for name in FIELDS}
    policy = parse_policy({"priority": ["web"], "entities": {"customer": {"fields": fields}}})
    resolver, states = batch.BatchResolver(policy, "changes", cache_bytes=100_000), {}
    digest = hashlib.sha256()
    records = log(seed=7)
    for begin in range(0, len(records), BATCH):
        effects = resolver.resolve_batch(0, records[begin : begin + BATCH], states)
        states.update(effects.states)
        rows = [row.parts() for row in effects.view]
        for part in (effects.dead_letters, effects.conflicts, effects.states, effects.records, rows):
            digest.update(repr([tuple(row) for row in part]).encode())
        digest.update(repr(sorted(effects.counts.items())).encode())
    print("interpreted" if str(batch.__file__).endswith(".py") else "compiled", digest.hexdigest())


if __name__ == "__main__":
    main()
