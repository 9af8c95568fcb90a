"""How far a system had come, told from its outputs."""

from __future__ import annotations

import pytest

from benchmarks.progress import Moment, Output, moment_of

OUTPUTS = [
    Output(at_ms=10, partition=0, offset=1),  # stands for offsets 0 and 1
    Output(at_ms=10, partition=1, offset=0),
    Output(at_ms=12, partition=0, offset=0),  # an entity of the same batch whose last change was earlier
    Output(at_ms=15, partition=1, offset=4),
    Output(at_ms=15, partition=0, offset=5),
    Output(at_ms=16, partition=0, offset=3),
]


@pytest.mark.parametrize(
    ("wanted", "moment"),
    [
        (1, Moment(10, 3)),
        (3, Moment(10, 3)),
        (4, Moment(15, 11)),
        (11, Moment(15, 11)),
    ],
)
def test_a_moment_counts_all_appended_by_then(wanted: int, moment: Moment) -> None:
    """Each partition is done up to its furthest output, and appends of one millisecond come together."""
    assert moment_of(reversed(OUTPUTS), wanted) == moment


def test_what_was_never_done_has_no_moment() -> None:
    """More changes than the outputs stand for are an error, not a guess."""
    with pytest.raises(ValueError, match="only 11 of 12"):
        moment_of(OUTPUTS, 12)
