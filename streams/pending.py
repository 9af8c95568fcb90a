"""What a target has yet to be told of one entity."""

from __future__ import annotations

from dataclasses import dataclass

from streams.delivery import Delivery

#: Stands for the offset of what was not read in its turn (a backfill, a letter): it holds no commit back.
OUT_OF_TURN = 2**63


@dataclass(slots=True, eq=False)
class Pending:
    """The newest state of an entity that the target has not acknowledged; a newer one takes its place.

    offset, at_ms, size: of the newest state's record: its place, its recorded time (ms), its bytes.
    first, since_ms: of the oldest record that is not acknowledged.
    whole: an earlier attempt may have been made by somebody else, so all fields go.
    failures: attempts at this alone that failed while others passed; failed_at: how much had passed by then.
    settled: it is delivered, refused, superseded or cleared, and gone from the backlog. refused: it is put away.
    """

    delivery: Delivery
    offset: int
    at_ms: int
    size: int
    first: int
    since_ms: int
    whole: bool = False
    failures: int = 0
    failed_at: int = -1
    settled: bool = False
    refused: bool = False

    @property
    def key(self) -> str:
        """The entity's."""
        return self.delivery.key

    def supersede(self, newer: Pending) -> None:
        """Take over a newer state of the same entity; it keeps its place."""
        self.delivery, self.offset, self.at_ms, self.size = newer.delivery, newer.offset, newer.at_ms, newer.size
        self.first = min(self.first, newer.first)
        self.since_ms = min(self.since_ms, newer.since_ms)
        self.whole = self.whole or newer.whole
        self.failures, self.failed_at = 0, -1
