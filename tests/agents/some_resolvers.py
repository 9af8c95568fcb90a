"""Resolvers as users write them: one that converges, and one for each way in which one may not."""

from __future__ import annotations

import random
from typing import Any

from schemas.live_write import LiveWrite

LEVELS = ["gold", "silver", "bronze"]
Writes = tuple[LiveWrite, ...]


def best_level(writes: Writes) -> LiveWrite | None:
    known = [write for write in writes if write.value in LEVELS]
    return min(known, key=lambda w: (LEVELS.index(w.value), w.source), default=None)


def latest(writes: Writes) -> LiveWrite:
    return max(writes, key=lambda write: write.occurred_at)  # a tie goes to whoever is listed first


def anyone(writes: Writes) -> LiveWrite:
    return random.choice(writes)


def by_hash(writes: Writes) -> str:
    return min((write.source for write in writes), key=hash)


def all_values(writes: Writes) -> Any:
    return {write.source for write in writes}


def endless(writes: Writes) -> Any:
    while True:
        pass


def broken(writes: Writes) -> Any:
    raise KeyError("a value that nobody may read in a log")
