"""`syncline worker --processes N`: one command, a worker for each core."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from agents.settings import Settings
from syncline.embedded import free_port
from syncline.processes import WorkerProcess, workers_of
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings
from tests.integration.test_web import ready

PROCESSES = 2


def changes(count: int) -> bytes:
    """Creations of entities, as JSON lines."""
    head = {"entity_type": "customer", "op": "create", "source": "crm"}
    return b"".join(
        json.dumps({**head, "entity_id": str(number), "fields": {"number": number}}).encode() + b"\n"
        for number in range(count)
    )


def two_free_ports() -> int:
    """A port that is free, as the next one is."""
    while True:
        first = free_port()
        if free_port() != first + 1 and not any(c.laddr.port == first + 1 for c in psutil.net_connections("tcp")):
            return first


def test_processes_share_the_partitions_and_stop_together(deployment: Deployment, tmp_path: Path) -> None:
    """All is resolved, each process has a web page of its own, and SIGTERM drains both: code 0."""
    port = two_free_ports()
    settings = worker_settings(deployment, partitions=2, processes=PROCESSES, web_port=port)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    shell = Shell(deployment)
    for number in range(PROCESSES):
        ready(port + number)
    shell.out("publish", "-", stdin=changes(50))
    shell.out("wait", "--timeout", "60")
    shell.out("digest", "table", "records", "view", "replay")
    assert worker.stop() == 0


def test_a_process_that_ends_ends_the_others(deployment: Deployment, tmp_path: Path) -> None:
    """So that whoever started them starts all of them again; the code is no success."""
    port = two_free_ports()
    settings = worker_settings(deployment, partitions=2, processes=PROCESSES, web_port=port)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    ready(port)
    children = psutil.Process(worker.pid).children(recursive=True)
    workers = [child for child in children if "worker" in child.cmdline()]
    assert len(workers) == PROCESSES
    workers[0].kill()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert (len(gone), alive) == (PROCESSES, [])
    assert worker.stop() != 0


def test_each_process_has_its_own_port_and_directory(tmp_path: Path) -> None:
    """Two workers can share neither."""
    settings = Settings(processes=3, web_port=7000, store="rocksdb", data_dir=tmp_path)
    each = [start.settings for start in workers_of(settings)]
    assert [(one.processes, one.web_port) for one in each] == [(1, 7000), (1, 7001), (1, 7002)]
    assert [one.data_dir for one in each] == [tmp_path / f"process-{number}" for number in range(3)]
