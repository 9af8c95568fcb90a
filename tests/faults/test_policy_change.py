"""Another policy under load, while workers are killed in the middle of the change: it alone has decided in the end."""

from __future__ import annotations

import asyncio
import copy
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.codec import decode_conflict, decode_record
from streams.policy import parse_policy
from tests import oracle
from tests.conftest import Deployment
from tests.faults import ledger
from tests.faults.load import ENTITY_TYPE, POLICY
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

SETTINGS = {"batch_records": 30}
ENTITIES = 600
#: Each worker has some of the partitions, and each of these takes two steps at least: one with entities and the end.
STEPS = ("1", "3")


def another() -> dict[str, Any]:
    """Other rules for three of the load's fields, under which the same writes are live."""
    policy = copy.deepcopy(POLICY)
    fields = policy["entities"][ENTITY_TYPE]["fields"]
    fields["phone"], fields["tier"] = {"resolver": "longest"}, {"resolver": "manual"}
    fields["tags"] = {"resolver": "union"}
    return policy


def test_the_policy_changes_under_load_and_kills(deployment: Deployment, tmp_path: Path) -> None:
    """Table, records, view and a fresh replay under the new policy are one, each record names it, nothing is lost."""
    load = {"seed": 501, "changes": None, "per_second": 200, "entities": ENTITIES}
    with FaultRun(deployment, tmp_path, settings=SETTINGS, **load) as run:
        run.publish()
        for steps in STEPS:
            run.start_worker(["-m", "tests.faults.rejudging_worker", steps])
        run.until_ready()
        run.until_progress()
        run.until(lambda: len(run.items) > ENTITIES, "too little is published")
        new = tmp_path / "another.yaml"
        new.write_text(yaml.safe_dump(another()))
        told = json.loads(run.shell.run("policy", "apply", str(new), "-o", "json").stdout)
        assert told["entity_types"] == [ENTITY_TYPE]
        run.until(lambda: len(run.codes()) >= len(STEPS), "the workers are not gone")
        assert run.codes() == [-signal.SIGKILL] * len(STEPS), "a worker was gone before its step"
        run.until_ready()
        run.drain()
        status = run.shell.run("policy", "status", "--wait", "60", "-o", "json")
        run.drain()
        # From here on those who judge have it, too.
        run.policy = another()
        Path(str(run.settings.config)).write_text(new.read_text())
        outcome = run.verify()
        topics = asyncio.run(ledger.read_topics(run.settings))
    assert status.returncode == 0, status.stdout
    assert outcome.digests_equal
    assert (outcome.lost, outcome.unexplained, outcome.golden_differ, outcome.uncommitted) == (0, 0, 0, 0), outcome
    assert outcome.stale_surviving == 0
    version = parse_policy(another()).version
    assert {decode_record(body).policy_version for body in ledger.folded(topics.records).values()} == {version}
    # Live sets are alike under both, so no conflict of a replay may be missing. There may be more: a source that wrote
    # its value once more has another dot, and the conflict as it stands another id.
    told_ids = {decode_conflict(record.value).conflict_id for log in topics.conflicts.values() for record in log}
    ours = [item.change for item in run.items if item.change is not None and ledger.sampled(item.key)]
    assert {one["conflict_id"] for one in oracle.conflicts(ours, another())} <= told_ids
