"""Nothing promised is broken, by any crash, in any of many simulated courses of events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest

from schemas.canonical import canonical, parse
from schemas.codec import decode_change
from schemas.wire import WireChange
from tests import oracle
from tests.simulation.broker import CHANGES
from tests.simulation.chance import Course
from tests.simulation.rules import Conditions, Rules, Violation

SEEDS = range(560)
CRASHES = 10_000
FEW = range(10_000, 10_040)


def test_nothing_is_lost_in_ten_thousand_crashes(capsys: pytest.CaptureFixture[str]) -> None:
    """After any crashes, rebalances and outages all places hold what a replay has, and no step broke a promise."""
    today = int(datetime.now(UTC).strftime("%Y%m%d"))
    started = process_time()
    counts: Counter[str] = Counter()
    for seed in (*SEEDS, today):
        result = Course(seed).run()
        counts.update(result.counts, steps=result.steps, inputs=sum(result.outcomes.values()))
    with capsys.disabled():
        print(
            f"\nsimulated {counts['crashes']} crashes and {counts['rebalances']} rebalances in {counts['steps']} steps"
            f" of {len(SEEDS) + 1} seeds (0 to {SEEDS[-1]}, and {today}): {counts['inputs']} inputs,"
            f" {counts['delivered again']} of them again, {counts['sends']} sends, {counts['commits']} commits,"
            f" {process_time() - started:.0f} s"
        )
    assert counts["crashes"] >= CRASHES


def test_the_replay_is_what_the_plain_implementation_says() -> None:
    """What the simulator compares with agrees with the implementation that was written from SPEC.md alone."""
    for seed in FEW[:12]:
        course = Course(seed)
        course.run()
        world = course.world
        changes = [
            plain(decode_change(record.value or b""))
            for partition, outcomes in enumerate(world.reference.outcomes)
            for record, outcome in zip(world.broker.log(CHANGES, partition).records, outcomes, strict=True)
            if outcome.reason is None
        ]
        expected = {
            key: (canonical(golden.fields), canonical(list(golden.contested)))
            for key, golden in oracle.golden(changes, world.policy_document).items()
            if golden.exists
        }
        rows = world.reference.now.values()
        assert {row.key.decode(): (row.doc, row.contested) for row in rows if row.doc is not None} == expected


def plain(change: WireChange) -> dict[str, Any]:
    """A change in its JSON form."""
    form = {name: getattr(change, name) for name in ("entity_type", "entity_id", "event_id", "op", "source", "version")}
    before = None if change.before is None else {name: parse(text) for name, text in change.before.items()}
    fields = {name: parse(text) for name, text in change.fields.items()}
    return {**form, "occurred_at": change.occurred_at, "seen": change.seen, "before": before, "fields": fields}


def test_one_seed_is_one_course_of_events() -> None:
    """The same seed does the same things in the same order and ends in the same state."""
    courses: list[list[str]] = [[], []]
    results = [Course(7, say=said.append).run() for said in courses]
    assert courses[0] == courses[1]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("conditions", "rules"),
    [
        (Conditions(compaction=False), Rules(epochs_fence=False)),
        (Conditions(compaction=False), Rules(members_only=False, epochs_fence=False)),
        (Conditions(), Rules(members_only=False)),
        (Conditions(disjoint_overtake=True), Rules()),
    ],
    ids=[
        "a broker that fences nobody off",
        "where a replaced worker goes on sending",
        "where nothing but fencing stops a replaced worker",
        "batches without a common entity overtake each other",
    ],
)
def test_harder_worlds(conditions: Conditions, rules: Rules) -> None:
    """States and view end right in worlds that are worse than what is promised for."""
    for seed in FEW:
        Course(seed, rules, conditions).run()


def test_a_failure_says_how_to_see_it_again() -> None:
    """A broken promise names its seed, and the last things that happened."""
    with pytest.raises(Violation) as caught:
        for seed in FEW:
            Course(seed, Rules(conflicts_before_states=False)).run(100)
    notes = "\n".join(caught.value.__notes__)
    assert "python -m tests.simulation 10" in notes
    assert "entities-changelog" in notes
