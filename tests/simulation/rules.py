"""What the system promises to do, each promise as a switch that a planted mutant turns off, and the world around it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of the shell. The defaults are the system; a mutant breaks one.

    members_only: a worker that the group replaced begins no send (agents/app.py, still_member). What it had begun
    when it was stopped may arrive whenever it goes on.
    epochs_fence: a partition refuses records of an older epoch than it has seen (agents/fencing.py). Not so on a broker
    without idempotent producers.
    contained_in_a_row: what of the changelog a table contains grows only by records that follow each other
    (EntityTable.written); it matters only without fencing.
    """

    conflicts_before_states: bool = True
    commit_waits_for_acknowledgements: bool = True
    batches_in_order: bool = True
    ledger_stops_at_the_unfinished: bool = True
    guard_compares: bool = True
    progress_lies_in_redis: bool = True
    recovery_by_position: bool = True
    members_only: bool = True
    epochs_fence: bool = True
    decoded_copies_are_forgotten: bool = True
    replayed_sends_its_record: bool = True
    contained_in_a_row: bool = True


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the world does to the system.

    compaction: of changelog and records. wipes_unseen: Redis is emptied without its connections being lost; while two
    followers of one partition live side by side, one of them can then take the other's new beginning for its own.
    disjoint_overtake: batches without a common entity may finish in any order.
    """

    compaction: bool = True
    wipes_unseen: bool = False
    disjoint_overtake: bool = False


class Violation(AssertionError):
    """A promise that was broken. promise: its short name."""

    def __init__(self, promise: str, message: str) -> None:
        super().__init__(f"{promise}: {message}")
        self.promise = promise
