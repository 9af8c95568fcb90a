"""Commits never pass a batch that is not acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agents.offsets import PartitionLedger


@dataclass
class Batch:
    """A delivered batch; offset is the one of its last record."""

    offset: int
    acked: bool = False


def ledger_with(*ranges: tuple[int, int], committed: int | None = None) -> tuple[PartitionLedger, list[Batch]]:
    """A ledger that has handed out these (first, last) ranges."""
    ledger, batches = PartitionLedger(committed), []
    for first, last in ranges:
        batches.append(Batch(last))
        ledger.register(first, batches[-1])
    return ledger, batches


@pytest.mark.parametrize(
    ("committed", "delivered", "acked", "committable"),
    [
        (31, [(31, 31), (32, 32), (33, 33)], [32, 33], None),
        (31, [(31, 32), (33, 33), (34, 34)], [33, 34], None),
        (None, [(0, 4), (5, 5), (6, 6)], [5, 6], None),
        (0, [(0, 6), (7, 7), (8, 8)], [7, 8], None),
        (31, [(31, 31), (32, 32), (33, 33)], [31, 33], 32),
        (None, [(0, 4), (5, 9)], [4, 9], 10),
    ],
)
def test_an_unfinished_batch_is_never_passed(
    committed: int | None, delivered: list[tuple[int, int]], acked: list[int], committable: int | None
) -> None:
    """Whatever is committed already, none and 0 included, the first unacknowledged batch is the limit."""
    ledger, batches = ledger_with(*delivered, committed=committed)
    for batch in batches:
        batch.acked = batch.offset in acked
    ledger.settle()
    assert ledger.committable == committable


def test_what_is_read_again_counts_only_then() -> None:
    """After a seek back, acknowledging a batch of the first reading moves nothing that was handed out again."""
    ledger, [done, again] = ledger_with((0, 99), (100, 199))
    second = Batch(149)
    ledger.register(100, second)
    done.acked = again.acked = True
    ledger.settle()
    assert ledger.committable == 100
    second.acked = True
    ledger.settle()
    assert ledger.committable == 150


def test_skipped_offsets_are_counted() -> None:
    """A batch that starts behind the end of the last one, or behind the committed offset, tells by how much."""
    ledger = PartitionLedger(10)
    assert ledger.register(12, Batch(19)) == 2
    assert ledger.register(20, Batch(29)) == 0
    assert ledger.register(35, Batch(39)) == 5
    assert PartitionLedger(None).register(7, Batch(9)) == 0


def test_acknowledged_batches_are_let_go() -> None:
    """What is settled is not kept, so that memory does not grow with what was done."""
    ledger, batches = ledger_with(*[(n, n) for n in range(100)])
    for batch in batches:
        batch.acked = True
    ledger.settle()
    assert (len(ledger), ledger.committable) == (0, 100)
