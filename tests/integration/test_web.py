"""Faust's own web server: what it shows, and what it must not."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from syncline.embedded import free_port
from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings

CHANGE = {"entity_type": "customer", "entity_id": "1", "op": "create", "source": "crm", "fields": {"name": "canary-7"}}


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ready(port: int, timeout_seconds: float = 60) -> str:
    """What /readyz?verbose says once it is 200."""
    until = time.monotonic() + timeout_seconds
    while True:
        try:
            status, body = get(port, "/readyz?verbose")
        except OSError as error:
            status, body = 0, str(error)
        if status == 200:
            return body
        assert time.monotonic() < until, f"not ready: {status} {body}"
        time.sleep(0.2)


def test_the_web_server_shows_state_of_the_worker_and_no_state_of_entities(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Probes, metrics and stats are there, on loopback only; no page and no log line shows a field's value."""
    port = free_port()
    worker = WorkerProcess(worker_settings(deployment, partitions=2, web_port=port), tmp_path / "worker.log")
    verbose = ready(port)
    assert all(name in verbose for name in ("recovered", "partitions", "membership", "view"))
    assert get(port, "/livez")[0] == 200
    shell = Shell(deployment)
    shell.out("publish", "-", stdin=json.dumps(CHANGE).encode())
    shell.out("wait", "--timeout", "60")

    status, metrics = get(port, "/metrics")
    assert (status, 'syncline_changes_total{outcome="applied"} 1.0' in metrics) == (200, True)
    assert get(port, "/")[0] == 200
    tables = [get(port, path) for path in ("/table/", "/table/entities/", "/table/entities/customer:1/", "/router/")]
    assert {status for status, _ in tables} == {404}
    pages = [metrics, get(port, "/")[1], get(port, "/readyz?verbose")[1], (tmp_path / "worker.log").read_text()]
    assert [page for page in pages if "canary" in page] == []
    listening = [c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
    assert set(listening) == {"127.0.0.1"}
    assert worker.stop() == 0
