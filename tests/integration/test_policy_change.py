"""Another policy for workers that run: said before, taken while running, kept over restarts, and taken back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.control import tell
from agents.names import TopicNames
from schemas.codec import decode_conflict, decode_record
from streams.policy import parse_policy
from syncline.embedded import free_port
from syncline.places import digest
from syncline.policies import all_done, standing
from syncline.processes import WorkerProcess
from syncline.waiting import wait_until_visible
from tests.conftest import Deployment
from tests.faults.ledger import folded, read_log
from tests.integration.shell import Shell, worker_settings
from tests.integration.test_web import ready

PATIENCE_SECONDS = 60.0
PLACES = ("table", "records", "view", "replay")
ENTITIES = 40
OLD: dict[str, Any] = {
    "priority": ["crm", "web"],
    "entities": {"customer": {"fields": {"email": {"resolver": "manual"}, "key": {"personal": True}}}, "order": {}},
}
NEW: dict[str, Any] = {
    "priority": ["crm", "web"],
    "entities": {"customer": {"resolver": "source_priority", "fields": {"key": {"personal": True}}}, "order": {}},
}
DIFFERENCES = {"email": (1, 0, 1), "key": (1, 0, 0)}


def changes() -> bytes:
    """Of each customer and order two writes that knew nothing of each other; web wrote last."""
    rows = [
        {
            "entity_type": entity_type,
            "entity_id": str(number),
            "op": "update",
            "source": source,
            "occurred_at": 1_760_000_000_000 + 500 * at,
            "fields": {"email": f"{source}@example.org", "key": source},
        }
        for entity_type in ("customer", "order")
        for number in range(ENTITIES)
        for at, source in enumerate(("crm", "web"))
    ]
    return "\n".join(map(json.dumps, rows)).encode()


class Place:
    """A deployment with a worker whose file has the old policy, and files of both."""

    def __init__(self, deployment: Deployment, directory: Path, store: dict[str, Any]) -> None:
        self.deployment, self.directory = deployment, directory
        self.old, self.new = (str(directory / name) for name in ("old.yaml", "new.yaml"))
        for path, policy in ((self.old, OLD), (self.new, NEW)):
            Path(path).write_text(yaml.safe_dump(policy))
        self.shell = Shell(deployment, SYNCLINE_CONFIG=self.old)
        self.names = TopicNames.with_prefix(deployment.topic_prefix)
        self.port = free_port()
        self.settings = worker_settings(deployment, config=self.old, partitions=2, web_port=self.port, **store)

    def start(self) -> WorkerProcess:
        """A worker, ready."""
        worker = WorkerProcess(self.settings, self.directory / "worker.log")
        ready(self.port)
        return worker

    def settled(self) -> None:
        """Wait until everything is decided by the policy in force; each place then holds the same."""
        asyncio.run(self._settled())

    async def _settled(self) -> None:
        now, rows = await standing(self.settings, PATIENCE_SECONDS)
        assert all_done(now, rows), rows
        await wait_until_visible(self.settings, PATIENCE_SECONDS)
        digests = [await digest(where, self.settings, now.policy) for where in PLACES]
        assert len({(one.count, one.sha256) for one in digests}) == 1, digests

    def versions(self) -> dict[str, set[str]]:
        """Entity type -> versions of the policies that decided its golden records."""
        found: dict[str, set[str]] = {}
        for key, body in folded(asyncio.run(read_log(self.deployment.kafka, self.names.records))).items():
            found.setdefault(key.decode().partition(":")[0], set()).add(decode_record(body).policy_version)
        return found

    def sent(self) -> int:
        """Records that `records` ever got."""
        return sum(map(len, asyncio.run(read_log(self.deployment.kafka, self.names.records)).values()))


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_policy_is_applied_kept_and_withdrawn(store: str, deployment: Deployment, tmp_path: Path) -> None:
    """A running worker takes it and sends anew what it concerns, a restart keeps it, and the file's comes back."""
    data = {"store": store, "data_dir": tmp_path / "data"} if store == "rocksdb" else {"store": store}
    place = Place(deployment, tmp_path, data)
    shell, old, new = place.shell, parse_policy(OLD).version, parse_policy(NEW).version
    worker = place.start()
    shell.out("publish", "-", stdin=changes())
    place.settled()

    told = json.loads(shell.out("policy", "apply", place.new, "--dry-run", "-o", "json"))
    assert told == json.loads(shell.out("policy", "diff", place.old, place.new, "-o", "json"))
    assert (told["entities"], told["concerned"], told["changed"]) == (2 * ENTITIES, ENTITIES, ENTITIES)
    counted = {row["field"]: (row["value"], row["contested"], row["pending"]) for row in told["fields"]}
    assert counted == {name: tuple(ENTITIES * one for one in counts) for name, counts in DIFFERENCES.items()}
    assert told["examples"][0]["before"] == '"web@example.org" (pending)'
    assert told["examples"][0]["after"] == '"crm@example.org" (contested)'
    assert {row["before"] for row in told["examples"] if row["field"] == "key"} == {'"***" (contested)'}
    assert place.versions() == {"customer": {old}, "order": {old}}

    assert f"policy {old} -> {new}; judged anew: customer" in shell.out("policy", "apply", place.new)
    place.settled()
    assert f"policy {new} (applied)" in shell.out("policy", "status")
    assert place.versions() == {"customer": {new}, "order": {old}}
    assert f"ok   policy: {new} (applied, the file has {old}) decides everything" in ready(place.port)
    conflicts: dict[str, Any] = {}
    for log in asyncio.run(read_log(deployment.kafka, place.names.conflicts)).values():
        conflicts |= {one.conflict_id: one for one in (decode_conflict(record.value) for record in log)}
    decided = {(one.outcome, one.policy_version) for one in conflicts.values() if one.entity_type == "customer"}
    assert decided == {("keep_local", new)}

    assert worker.stop() == 0
    before = place.sent()
    worker = place.start()
    place.settled()
    assert place.sent() == before
    assert f"policy {new} -> {old}" in shell.out("policy", "withdraw")
    place.settled()
    assert place.versions() == {"customer": {old}, "order": {old}}
    assert worker.stop() == 0


def test_a_policy_that_cannot_be_read_changes_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """The command refuses a file with a mistake; what gets to the workers all the same is reported, and they go on."""
    place = Place(deployment, tmp_path, {})
    worker = place.start()
    bad = tmp_path / "bad.yaml"
    bad.write_text("resolver: best")
    done = place.shell.run("policy", "apply", str(bad))
    assert (done.returncode, b"'best' is not known" in done.stderr) == (1, True)
    asyncio.run(tell(deployment.kafka, place.names.control, "policy", {"policy": {"resolver": "best"}}))
    place.shell.out("publish", "-", stdin=changes())
    asyncio.run(wait_until_visible(place.settings, PATIENCE_SECONDS))
    assert place.versions() == {name: {parse_policy(OLD).version} for name in ("customer", "order")}
    assert "fail policy" in ready(place.port)
    assert worker.stop() == 0
