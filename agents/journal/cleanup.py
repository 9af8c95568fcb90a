"""Deletes what the change log need not keep any longer, in small steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from agents.journal.store import Store
from agents.names import TopicNames
from schemas.journal_document import JournalDocument


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of a topic: rows for so long, counters for so long (None: for ever), so many rows (None: all)."""

    topic: str
    rows_ms: int | None
    counters_ms: int | None
    most: int | None

    def begin_ms(self, now_ms: int) -> int | None:
        """The time before which rows are too old."""
        return None if self.rows_ms is None else max(0, now_ms - self.rows_ms)


def rules_of(said: JournalDocument, names: TopicNames) -> list[Rule]:
    """Conflicts have the values that lost, so no number of them is too large."""
    keep = said.retention
    return [
        Rule(names.changes, keep.changes, keep.counters, said.most_changes),
        Rule(names.conflicts, keep.conflicts, keep.counters, None),
    ]


async def clean(store: Store, rules: list[Rule], now_ms: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Delete what is too old or too much; returns the number of rows. go_on: asked before each step.

    Raises StoreUnavailable: what was deleted until then stays deleted.
    """
    deleted = 0
    for rule in rules:
        while go_on():
            step = await store.expire(rule.topic, rule.begin_ms(now_ms), rule.most, store.step_rows)
            deleted += step
            if step < store.step_rows:
                break
            await asyncio.sleep(0)
        if rule.counters_ms is not None and go_on():
            await store.forget_hours(rule.topic, max(0, now_ms - rule.counters_ms))
    return deleted
