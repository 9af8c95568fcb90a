"""The whole topic once more, in another order: nothing changes, and no conflict is new."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import yaml

from agents.names import TopicNames
from schemas.codec import decode_conflict
from syncline.processes import WorkerProcess
from syncline.publisher import Encoded, Publisher
from tests.conftest import Deployment
from tests.faults.ledger import Log, differing_records, read_log
from tests.faults.load import POLICY, Generator, Item
from tests.integration.shell import Shell, worker_settings

SEED = 11
CHANGES, ENTITIES = 1_500, 150
PLACES = ("table", "records", "view", "replay")


@dataclass(frozen=True)
class Found:
    """What a deployment holds: the digests of all places, its conflict ids, and how many conflicts were recorded."""

    digests: frozenset[tuple[str, int]]
    conflict_ids: frozenset[str]
    conflicts: int


class Resolving:
    """A deployment with a worker under the policy of the fault tests."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        policy = directory / "syncline.yaml"
        policy.write_text(yaml.safe_dump(POLICY))
        self.shell = Shell(deployment, SYNCLINE_CONFIG=str(policy))
        settings = worker_settings(deployment, config=str(policy), partitions=2)
        self.worker = WorkerProcess(settings, directory / "worker.log")
        self.names = TopicNames.with_prefix(deployment.topic_prefix)
        self._deployment = deployment

    async def publish(self, items: list[Item]) -> Found:
        """Publish, wait until all of it is resolved, and look."""
        async with Publisher(self._deployment.kafka, self._deployment.topic_prefix) as publisher:
            await publisher.send([Encoded(item.key, item.value) for item in items])  # type: ignore[arg-type]
        await asyncio.to_thread(self.shell.out, "wait", "--timeout", "90")
        rows = json.loads(await asyncio.to_thread(self.shell.out, "digest", *PLACES, "-o", "json"))
        log = await self.log(self.names.conflicts)
        ids = [decode_conflict(record.value).conflict_id for records in log.values() for record in records]
        return Found(frozenset((row["sha256"], row["count"]) for row in rows), frozenset(ids), len(ids))

    async def log(self, topic: str) -> Log:
        """All records of a topic."""
        return await read_log(self._deployment.kafka, topic)


async def test_what_was_resolved_is_resolved_again_to_the_same(deployment: Deployment, tmp_path: Path) -> None:
    """All records sent again, as they were and then in any order: the same digests, and no further conflict."""
    resolving, items = Resolving(deployment, tmp_path), list(islice(Generator(SEED, ENTITIES).items(), CHANGES))
    first = await resolving.publish(items)
    assert len(first.digests) == 1
    assert first.conflicts > CHANGES / 10
    assert await resolving.publish(items) == first
    random.Random(SEED).shuffle(items)
    assert await resolving.publish(items) == first
    assert resolving.worker.stop() == 0


async def test_any_order_ends_in_the_same_golden_records(deployment: Deployment, tmp_path: Path) -> None:
    """Changes that arrive in any order, across sources and within one, end as the plain implementation does."""
    resolving, items = Resolving(deployment, tmp_path), list(islice(Generator(SEED, ENTITIES).items(), CHANGES))
    in_order = [item.change for item in items if item.change is not None]
    random.Random(SEED + 1).shuffle(items)
    found = await resolving.publish(items)
    assert len(found.digests) == 1
    assert differing_records(await resolving.log(resolving.names.records), in_order, POLICY) == []
    assert resolving.worker.stop() == 0
