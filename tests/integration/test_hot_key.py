"""One entity that gets nine tenths of a load, from two sources in turn that know nothing of each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

from agents.names import TopicNames
from schemas.change import Change
from schemas.codec import decode_conflict, decode_record, encode_change
from schemas.conflicts_document import DEFAULT_PER_MINUTE
from streams.entity_codec import decode_entity
from syncline.processes import WorkerProcess
from syncline.publisher import Encoded, Publisher
from tests import oracle
from tests.conftest import Deployment
from tests.faults.ledger import folded, read_log
from tests.integration.shell import Shell, worker_settings

CHANGES = 20_000
SOURCES = ("crm", "web")
HOT = "hot"
OTHERS = 200
START_MS, STEP_MS = 1_760_000_000_000, 10
#: Two sources' newest writes of two fields, and their newest touches.
STATE_BYTES = 300
#: Of 17,999 conflicts: two minutes' budgets, and of the rest each that doubles the number.
FEW_RECORDS = 2 * (DEFAULT_PER_MINUTE + 10)


def load() -> Iterator[dict[str, Any]]:
    """Changes: each tenth of one of the others, the rest of the hot one, of which each has a value of its own."""
    for number in range(CHANGES):
        hot = number % 10 != 0
        yield {
            "event_id": str(number),
            "entity_type": "customer",
            "entity_id": HOT if hot else str(number // 10 % OTHERS),
            "op": "update",
            "source": SOURCES[number % 2],
            "version": number + 1,
            "occurred_at": START_MS + number * STEP_MS,
            "seen": None,
            "before": None,
            "fields": {"count": number, "kind": "hot" if hot else "other"},
        }


def conflict_ids(history: list[dict[str, Any]]) -> list[str]:
    """What each change of the hot entity brings: the newest `count` of each source, milliseconds apart."""
    newest: dict[str, int] = {}
    ids = []
    for change in history:
        newest[change["source"]] = change["version"]
        if len(newest) == len(SOURCES):
            named = oracle.canonical([f"customer:{HOT}", "count", sorted(newest.items())])
            ids.append(sha256(named.encode()).hexdigest()[:32])
    return ids


async def test_a_hot_entity_costs_the_others_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """All partitions finish, each conflict is recorded or counted once, in few records, and the state stays small."""
    shell = Shell(deployment, SYNCLINE_PARTITIONS="8")
    worker = WorkerProcess(worker_settings(deployment, partitions=8), tmp_path / "worker.log")
    changes = list(load())
    encoded = [Change(**change) for change in changes]
    async with Publisher(deployment.kafka, deployment.topic_prefix) as publisher:
        await publisher.send([Encoded(change.key.encode(), encode_change(change)) for change in encoded])
    await asyncio.to_thread(shell.out, "wait", "--timeout", "120")
    names, key = TopicNames.with_prefix(deployment.topic_prefix), f"customer:{HOT}".encode()
    hot = [change for change in changes if change["entity_id"] == HOT]

    records = folded(await read_log(deployment.kafka, names.records))
    last = {f"customer:{change['entity_id']}".encode(): change["fields"] for change in changes}
    assert {at: decode_record(record).fields for at, record in records.items()} == last
    conflicts = (await read_log(deployment.kafka, names.conflicts)).values()
    told = [decode_conflict(record.value) for log in conflicts for record in log]
    state = folded(await read_log(deployment.kafka, names.changelog))[key]
    found = conflict_ids(hot)
    at = [after + number for number, after in enumerate(accumulate(one.left_out for one in told))]
    assert [one.conflict_id for one in told] == [found[place] for place in at]
    budget = decode_entity(state).budget
    assert budget is not None
    assert at[-1] + 1 + budget.left_out == len(found)
    assert at[:DEFAULT_PER_MINUTE] == list(range(DEFAULT_PER_MINUTE))
    assert len(told) < FEW_RECORDS
    assert {(one.kind, one.outcome, len(one.candidates)) for one in told} == {("ambiguous_order", "apply_remote", 2)}
    assert len(state) < STATE_BYTES
    assert decode_entity(state).clock() == {change["source"]: change["version"] for change in hot}
    rows = json.loads(await asyncio.to_thread(shell.out, "digest", "table", "view", "-o", "json"))
    assert {row["count"] for row in rows} == {len(last)}
    assert worker.stop() == 0
