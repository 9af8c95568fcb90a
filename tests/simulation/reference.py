"""What must come of the log, whatever happens on the way: `changes` folded one record at a time."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from schemas.codec import decode_conflict
from streams.effects import ViewRow
from streams.fold import Replay
from streams.policy import Policy
from tests.simulation.broker import CHANGES, Record


class Outcome(NamedTuple):
    """Of one input: why it was refused (None: it was not), the conflicts it caused, whether it moved a state."""

    key: bytes
    reason: str | None
    conflicts: list[str]
    moved: bool


class Reference:
    """Folds each record as it is published.

    outcomes: by partition and offset. causes: of each entity, (offset, conflict id) in their order.
    rows: by entity and offset, what is true of the entity from that position on; `now` the newest of them.
    """

    def __init__(self, policy: Policy, partitions: int) -> None:
        self._replay = Replay(policy, CHANGES)
        self.outcomes: list[list[Outcome]] = [[] for _ in range(partitions)]
        self.causes: defaultdict[bytes, list[tuple[int, str]]] = defaultdict(list)
        self.rows: dict[tuple[bytes, int], ViewRow] = {}

    @property
    def now(self) -> dict[bytes, ViewRow]:
        return self._replay.rows

    def publish(self, record: Record) -> None:
        """Folds the next record of a partition."""
        effects = self._replay.feed(record.partition, [record])
        key = record.key or b""
        ids = [decode_conflict(body).conflict_id for _, body in effects.conflicts]
        reason = effects.dead_letters[0].reason if effects.dead_letters else None
        self.outcomes[record.partition].append(Outcome(key, reason, ids, bool(effects.states)))
        self.causes[key] += [(record.offset, conflict_id) for conflict_id in ids]
        for row in effects.view:
            self.rows[row.key, row.offset] = row

    def counts(self) -> dict[str, int]:
        """Every input as exactly one of applied, duplicate or stale, quarantined."""
        counts = {"applied": 0, "duplicate or stale": 0, "quarantined": 0}
        for outcomes in self.outcomes:
            for outcome in outcomes:
                refused = outcome.reason is not None
                counts["quarantined" if refused else "applied" if outcome.moved else "duplicate or stale"] += 1
        return counts
