"""Losing Redis neither stops nor changes resolution, and the view comes back by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings
from tests.servers.redis import RedisServer


def lines(first: int, last: int) -> bytes:
    """Changes of customers `first` to `last` - 1; of every tenth, a delete follows."""
    changes: list[dict[str, Any]] = []
    for number in range(first, last):
        head = {"entity_type": "customer", "entity_id": str(number), "source": "crm"}
        changes.append({**head, "op": "create", "version": 1, "fields": {"n": number}})
        if number % 10 == 0:
            changes.append({**head, "op": "delete", "version": 2})
    return b"".join(json.dumps(change).encode() + b"\n" for change in changes)


def test_redis_killed_and_back_empty(deployment: Deployment, own_redis: RedisServer, tmp_path: Path) -> None:
    """With Redis dead, changes are resolved to the same records; back and empty, it is filled with all of them."""
    deployment = replace(deployment, redis=own_redis.url(0))
    shell = Shell(deployment)
    worker = WorkerProcess(worker_settings(deployment, partitions=2), tmp_path / "worker.log")
    shell.out("publish", "-", stdin=lines(0, 100))
    shell.out("wait", "--timeout", "60")

    own_redis.kill()
    shell.out("publish", "-", stdin=lines(100, 200))
    without_redis = Shell(replace(deployment, redis=""))
    del without_redis.environment["SYNCLINE_REDIS"]
    without_redis.out("wait", "--timeout", "60")
    assert shell.out("export", "records") == shell.out("export", "replay")
    assert shell.out("export", "records").count("\n") == 180

    own_redis.start()
    shell.out("wait", "--timeout", "60")
    assert shell.out("export", "view") == shell.out("export", "records")

    own_redis.wipe()
    shell.out("publish", "-", stdin=lines(200, 201))
    shell.out("wait", "--timeout", "60")
    assert shell.out("export", "view") == shell.out("export", "records")
    assert worker.stop() == 0
