"""The simulator bites: whatever promise of the shell is dropped, some seed finds it."""

from __future__ import annotations

import pytest

from tests.simulation.chance import Course
from tests.simulation.rules import Conditions, Rules, Violation

WITHIN = range(200)
UNCOMPACTED = Conditions(compaction=False)
OVERTAKING = Conditions(disjoint_overtake=True)

MUTANTS = {
    "state before conflict": (Rules(conflicts_before_states=False), Conditions(), {"conflict first"}),
    "commit before acks": (Rules(commit_waits_for_acknowledgements=False), Conditions(), {"commit"}),
    "batches in any order": (Rules(batches_in_order=False), Conditions(), {"conflict first", "commit", "nothing lost"}),
    "ledger that steps over a batch": (Rules(ledger_stops_at_the_unfinished=False), OVERTAKING, {"commit"}),
    "guard without comparison": (Rules(guard_compares=False), Conditions(), {"view", "progress"}),
    "progress not in Redis": (Rules(progress_lies_in_redis=False), Conditions(), {"progress", "nothing lost"}),
    "anyone may send": (
        Rules(members_only=False, epochs_fence=False),
        Conditions(),
        {"nothing lost", "view", "states", "records"},
    ),
    "nobody is fenced off": (Rules(epochs_fence=False), Conditions(), {"nothing lost"}),
    "last state wins in recovery": (
        Rules(recovery_by_position=False, members_only=False, epochs_fence=False),
        UNCOMPACTED,
        {"nothing lost", "view", "states", "records", "conflicts", "conflict first"},
    ),
    "decoded copies are kept": (
        Rules(decoded_copies_are_forgotten=False),
        Conditions(),
        {"states", "records", "view", "conflicts", "conflict first", "nothing lost"},
    ),
    "no record for what comes again": (Rules(replayed_sends_its_record=False), Conditions(), {"commit"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    """A shell that breaks one rule is caught within 200 seeds, by an invariant that is about this rule."""
    rules, conditions, promises = MUTANTS[name]
    with pytest.raises(Violation) as caught:
        for seed in WITHIN:
            Course(seed, rules, conditions).run()
    assert caught.value.promise in promises
