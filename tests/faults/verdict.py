"""The verdict on a fault run: what every place holds, and whether that is what was published."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.config_file import load_policy
from streams.entity_codec import position_of
from tests.faults import ledger as books

if TYPE_CHECKING:
    from tests.faults.run import FaultRun

PLACES = ("table", "records", "view", "replay")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. changes: offsets in the log. replayed: golden records sent again.
    stale: states in the changelog that are older than one before. recoveries: seconds each.

    wrong: one line for each rule that is broken; empty when all of "Std" holds, which is what tests assert.
    """

    seed: int
    changes: int
    applied: int
    superseded: int
    duplicate: int
    quarantined: int
    lost: int
    unexplained: int
    digests_equal: bool
    golden_differ: int
    conflicts_differ: int
    uncommitted: int
    replayed: int
    stale: int
    stale_surviving: int
    recoveries: tuple[float, ...]
    wall_seconds: float
    wrong: tuple[str, ...]


def verdict(run: FaultRun, wall_seconds: float) -> Outcome:
    """The outcome of a drained run."""
    policy = load_policy(run.settings.config)
    topics = asyncio.run(books.read_topics(run.settings))
    ledger = books.account(topics, run.items)
    known = {(item.key, item.value): item.change for item in run.items}
    log = [known.get((record.key, record.value)) for records in topics.changes.values() for record in records]
    histories = [change for change in log if change is not None]
    golden = books.differing_records(topics.records, histories, run.policy)
    conflicts = books.differing_conflicts(topics.conflicts, histories, run.policy)
    rows = json.loads(run.shell.run("digest", *PLACES, "-o", "json").stdout)
    lines = books.changelog_lines(topics.changelog, policy)
    digests = {(row["sha256"], row["count"]) for row in rows} | {(sha_of(lines), len(lines))}
    written = books.rewrites(topics.changelog, position_of)
    sent = books.rewrites(topics.records, books.position_of_record)
    uncommitted = run.progress.uncommitted()
    recoveries = [run.progress.recovery_seconds(at) for at in run.faults]
    count = ledger.kinds
    published = {(record.key, record.value) for records in topics.changes.values() for record in records}
    missing = len(set(known) - published)
    findings = {
        "records that Kafka acknowledged are not in the log": missing,
        "changes are lost": count["lost"],
        "effects are unexplained": count["unexplained"],
        "digests beside the first": len(digests) - 1,
        "golden records differ from the oracle's": len(golden),
        "conflict ids differ from the oracle's": len(conflicts),
        "offsets are not committed": uncommitted,
        "keys end in a stale state": written.surviving,
        "keys end in a stale golden record": sent.surviving,
        "faults had no recovery": recoveries.count(None),
    }
    wrong = [f"{number} {what}" for what, number in findings.items() if number]
    return Outcome(
        seed=run.seed,
        changes=sum(map(len, topics.changes.values())),
        applied=count["applied"],
        superseded=count["superseded"],
        duplicate=count["duplicate"],
        quarantined=count["quarantined"],
        lost=count["lost"] + missing,
        unexplained=count["unexplained"],
        digests_equal=len(digests) == 1,
        golden_differ=len(golden),
        conflicts_differ=len(conflicts),
        uncommitted=uncommitted,
        replayed=sent.repeated + sent.stale,
        stale=written.stale,
        stale_surviving=written.surviving + sent.surviving,
        recoveries=tuple(round(seconds, 1) for seconds in recoveries if seconds is not None),
        wall_seconds=round(wall_seconds, 1),
        wrong=(*wrong, *ledger.notes, *golden[:5], *conflicts[:5]),
    )


def sha_of(lines: Sequence[str]) -> str:
    """The digest as `syncline digest` makes it."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
