"""The real edits through the pure kernel: the golden records are the truth, however they arrive."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.change import Change
from schemas.codec import encode_change
from streams.fold import Replay
from streams.policy import parse_policy
from tests.real_input.releases import changes, shuffled, truth, without_seen

Edits = list[dict[str, Any]]
BATCH = 4_000
NOW = 4_000_000_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the topic `changes`."""

    offset: int
    key: bytes
    value: bytes
    timestamp: int = NOW


CASES: dict[str, tuple[Callable[[Edits], Edits], dict[str, Any]]] = {
    "in file order": (lambda edits: edits, {}),
    "shuffled, with duplicates": (lambda edits: shuffled(edits, 1), {}),
    "shuffled, without seen": (lambda edits: shuffled(without_seen(edits), 2), {}),
    "under source_priority": (lambda edits: shuffled(edits, 3), {"resolver": "source_priority"}),
}


@pytest.mark.parametrize("case", CASES)
def test_golden_records_are_the_truth(case: str) -> None:
    """All 8,351 releases have the fields that their files have, and nothing is contested."""
    arrange, document = CASES[case]
    edits = [Change(**edit) for edit in arrange(changes())]
    log = [Record(offset, edit.key.encode(), encode_change(edit)) for offset, edit in enumerate(edits)]
    replay = Replay(parse_policy(document), "changes")
    for begin in range(0, len(log), BATCH):
        effects = replay.feed(0, log[begin : begin + BATCH])
        assert effects.dead_letters == []
    rows = replay.rows.values()
    assert [row.key for row in rows if row.contested != "[]"] == []
    golden = {row.key.decode().partition(":")[2]: json.loads(row.doc) for row in rows if row.doc is not None}
    assert golden == truth()
