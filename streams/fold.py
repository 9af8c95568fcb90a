"""Replay: the pure fold of topic `changes`, by the code that resolves it live (SPEC section 7)."""

from __future__ import annotations

from collections.abc import Sequence

from streams.batch import BatchResolver
from streams.effects import BatchEffects, InputRecord, ViewRow
from streams.policy import Policy


class Replay:
    """Folds batches from the beginning of each partition. rows: what the view would hold, by entity key."""

    def __init__(self, policy: Policy, changes_topic: str) -> None:
        self._resolver = BatchResolver(policy, changes_topic)
        self._states: dict[bytes, bytes] = {}
        self.rows: dict[bytes, ViewRow] = {}

    def feed(self, partition: int, records: Sequence[InputRecord]) -> BatchEffects:
        """Folds the next records of a partition and returns their effects, none of which is performed."""
        effects = self._resolver.resolve_batch(partition, records, self._states)
        self._states.update(effects.states)
        for row in effects.view:
            self.rows[row.key] = row
        return effects
