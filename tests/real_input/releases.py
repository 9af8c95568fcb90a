"""Who changed which software release, when: 70,755 edits of 618 people, and the state they ended in.

The truth was read from the edited files themselves and not from the edits.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CHANGES = DATA / "releases.changes.jsonl.gz"
TRUTH = DATA / "releases.truth.json.gz"
ENTITIES = 8_351
DUPLICATES = 9_000


def changes() -> list[dict[str, Any]]:
    """The edits in causal order, in the JSON form of a change."""
    with gzip.open(CHANGES, "rt") as lines:
        return [json.loads(line) for line in lines]


def truth() -> dict[str, dict[str, Any]]:
    """Entity id -> fields, for what exists at the end."""
    with gzip.open(TRUTH, "rt") as file:
        state: dict[str, dict[str, Any]] = json.load(file)
    return state


def shuffled(edits: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """In no order at all, with DUPLICATES of them delivered twice."""
    chosen = random.Random(seed)
    doubled = edits + chosen.choices(edits, k=DUPLICATES)
    chosen.shuffle(doubled)
    return doubled


def without_seen(edits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As from sources that send no causal context; evidence is then `before`, and time."""
    return [{**edit, "seen": None} for edit in edits]
