"""Trust that falls below a rival's while nothing arrives, on a worker and a real broker."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from agents.names import TopicNames
from schemas.codec import decode_record
from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.faults.ledger import read_log
from tests.integration.shell import InProcess, worker_settings

POLICY = (
    "entities: {customer: {fields: {phone: {resolver: trust, scores: {crm: 0.9, web: 0.5}, half_life: {crm: 1d}}}}}\n"
)
DEADLINE_SECONDS = 60.0
DAY_MS = 24 * 3600 * 1000
CUSTOMERS = 20


def edits() -> bytes:
    """Two days ago both sources wrote each phone at nearly the same time, and knew nothing of each other."""
    at = time.time_ns() // 1_000_000 - 2 * DAY_MS
    rows: list[dict[str, Any]] = [
        {
            "entity_type": "customer",
            "entity_id": str(number),
            "op": "update",
            "source": source,
            "occurred_at": at,
            "fields": {"phone": source},
        }
        for number in range(CUSTOMERS)
        for source in ("crm", "web")
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def phones(deployment: Deployment) -> dict[bytes, list[Any]]:
    """What `records` says of each customer's phone, in order, the same in a row once."""
    found: dict[bytes, list[Any]] = {}
    topic = TopicNames.with_prefix(deployment.topic_prefix).records
    for log in asyncio.run(read_log(deployment.kafka, topic)).values():
        for record in log:
            told = found.setdefault(record.key, [])
            value = decode_record(record.value).fields["phone"]
            if told[-1:] != [value]:
                told.append(value)
    return found


def test_a_winner_is_overtaken_although_no_change_arrives(deployment: Deployment, tmp_path: Path) -> None:
    """Each phone is the web's in the end, whose score crm's has fallen below, in every place and in a replay."""
    config = tmp_path / "syncline.yaml"
    config.write_text(POLICY)
    shell = InProcess(deployment, SYNCLINE_CONFIG=str(config))
    settings = worker_settings(deployment, config=str(config), partitions=2, trust_seconds=0.5)
    assert shell.run("publish", "-", stdin=edits()).returncode == 0
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (told := phones(deployment)) == {} or any(values[-1] != "web" for values in told.values()):
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    assert list(told.values()) == [["crm", "web"]] * CUSTOMERS
    shell.out("wait", "--timeout", "60")
    rows = json.loads(shell.out("digest", "table", "records", "view", "replay", "-o", "json"))
    assert len({row["sha256"] for row in rows}) == 1
    assert worker.stop() == 0
