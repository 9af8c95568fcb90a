"""The real edits through a real Kafka, one or two workers and Redis: the exported view is the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings
from tests.real_input.releases import ENTITIES, changes, shuffled, truth, without_seen

Edits = list[dict[str, Any]]
PARTITIONS = 8

BY_TIME, BY_SOURCE = "", "resolver: source_priority\n"
CASES: dict[str, tuple[int, Callable[[Edits], Edits], str]] = {
    "in file order, one worker": (1, lambda edits: edits, BY_TIME),
    "in file order, two workers": (2, lambda edits: edits, BY_TIME),
    "shuffled, with duplicates, one worker": (1, lambda edits: shuffled(edits, 1), BY_TIME),
    "shuffled, with duplicates, two workers": (2, lambda edits: shuffled(edits, 2), BY_TIME),
    "without seen": (1, lambda edits: shuffled(without_seen(edits), 4), BY_TIME),
    "under source_priority": (2, lambda edits: shuffled(edits, 5), BY_SOURCE),
}


@pytest.mark.parametrize("case", CASES)
def test_the_exported_view_is_the_truth(case: str, deployment: Deployment, tmp_path: Path) -> None:
    """After publish and wait, the view has the 8,351 true releases, none contested, and all places agree."""
    workers, arrange, policy = CASES[case]
    edits = arrange(changes())
    file, policy_file = tmp_path / "changes.jsonl", tmp_path / "syncline.yaml"
    file.write_text("".join(json.dumps(edit) + "\n" for edit in edits))
    policy_file.write_text(policy)
    settings = worker_settings(deployment, config=str(policy_file), partitions=PARTITIONS)
    shell = Shell(deployment, SYNCLINE_CONFIG=str(policy_file), SYNCLINE_PARTITIONS=str(PARTITIONS))
    with ExitStack() as stack:
        for number in range(workers):
            process = WorkerProcess(settings, tmp_path / f"worker-{number}.log")
            stack.callback(process.stop)
        assert json.loads(shell.out("publish", str(file)))["published"] == len(edits)
        shell.out("wait", "--timeout", "300")
        rows = [json.loads(line) for line in shell.out("export", "view").splitlines()]
        assert len(rows) == ENTITIES
        assert [row["key"] for row in rows if row["contested"]] == []
        assert {row["key"].partition(":")[2]: row["fields"] for row in rows} == truth()
        digests = json.loads(shell.out("digest", "table", "records", "view", "replay", "-o", "json"))
        assert len({row["sha256"] for row in digests}) == 1
        assert {row["count"] for row in digests} == {ENTITIES}
