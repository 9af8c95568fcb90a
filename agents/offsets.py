"""Which offsets of one partition may be committed: those of the batches acknowledged from the head on."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Delivered(Protocol):
    """One message of the lane, that is one batch. offset: of the batch's *last* record."""

    acked: bool
    offset: int


class PartitionLedger:
    """The batches of one partition in the order in which they were handed out, and how far they are done.

    Faust itself compares acknowledged offsets with the last committed one, and so steps over one
    unfinished message at the head, or over any number of them when nothing was committed yet (no offset,
    or offset 0). A batch is far more than one message, so here the head decides: `committable` never
    passes a batch that is not acknowledged, whatever was committed before.
    """

    def __init__(self, expected: int | None = None) -> None:
        self._open: deque[Delivered] = deque()
        self._expected = expected
        self.committable: int | None = None

    def register(self, first: int, message: Delivered) -> int:
        """Take note of a batch that starts at offset `first`, before it is handed out.

        A batch that starts at or before the end of one already noted means that the consumer was moved
        back: what was noted from there on will come again, in other batches perhaps, and counts only then.
        Returns the number of offsets skipped since the last batch, or since the committed offset.
        """
        while self._open and self._open[-1].offset >= first:
            self._open.pop()
        self._open.append(message)
        skipped = 0 if self._expected is None else max(0, first - self._expected)
        self._expected = message.offset + 1
        return skipped

    def settle(self) -> None:
        """Move `committable` (the next offset to read) over every batch acknowledged in a row."""
        while self._open and self._open[0].acked:
            self.committable = self._open.popleft().offset + 1

    def __len__(self) -> int:
        return len(self._open)
