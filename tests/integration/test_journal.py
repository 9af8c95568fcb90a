"""The change log of a running worker, as the command line shows it: rows, counters, a switch, and who has none."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.settings import Settings
from syncline.embedded import free_port
from syncline.processes import WorkerProcess, with_changes
from tests.conftest import DATABASE_NUMBERS, Deployment
from tests.faults.journal_run import JournalRun, plan_of
from tests.integration.shell import InProcess, Shell, worker_settings
from tests.integration.test_web import get, ready
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

MINUTE = "60"


def change(entity: str, source: str, **more: Any) -> dict[str, Any]:
    """A change in its JSON form, at a time that is all of theirs."""
    head = {"entity_type": "customer", "entity_id": entity, "op": "update", "source": source}
    return {**head, "occurred_at": 1_760_000_000_000, **more}


#: Two that disagree about a tier and an email, one that is alone, and one whose clock is far ahead.
CHANGES = [
    change("1", "crm", fields={"tier": "gold", "email": "ana@example.com"}),
    change("1", "web", fields={"tier": "silver", "email": "eve@example.com"}),
    change("2", "crm", fields={"tier": "gold"}, op="create"),
    change("3", "web", fields={"tier": "basic"}, occurred_at=4_000_000_000_000),
]


@pytest.fixture
def config(tmp_path: Path, redis_server: RedisServer, postgres_server: PostgresServer) -> Path:
    """Three stores, memory being the first, and a personal field."""
    said = {
        "entities": {"customer": {"fields": {"email": {"personal": True}}}},
        "journal": {
            "store": "small",
            "stores": {
                "small": "memory://",
                "main": {"url": postgres_server.new_database()},
                "quick": redis_server.url(next(DATABASE_NUMBERS)),
            },
        },
    }
    path = tmp_path / "syncline.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


@pytest.fixture
def settings(deployment: Deployment, config: Path) -> Settings:
    """Of a worker with a web port."""
    return worker_settings(deployment, config=str(config), partitions=2, web_port=free_port())


@pytest.fixture
def shell(deployment: Deployment, config: Path) -> Shell:
    """A shell with the same file."""
    return Shell(deployment, SYNCLINE_CONFIG=str(config))


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A running worker, which must end with 0 when it is told to."""
    process = WorkerProcess(settings, tmp_path / "worker.log")
    yield process
    assert process.stop() == 0


def told(shell: Shell, *arguments: str) -> Any:
    """The JSON that a command prints; messages are allowed beside it."""
    done = shell.run(*arguments, "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def refused(shell: Shell, *arguments: str) -> str:
    """The one line of a command that must fail."""
    done = shell.run(*arguments)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode().count("\n")) == (1, "", 1)
    return done.stderr.decode()


def kinds(page: Any) -> list[tuple[str, str]]:
    """Entity and kind of each row."""
    return sorted((row["entity"], row["kind"]) for row in page["rows"])


def test_what_a_worker_resolved_is_in_every_store(
    shell: Shell, settings: Settings, worker: WorkerProcess, tmp_path: Path
) -> None:
    """The same rows from the topics, from PostgreSQL and from Redis, before and after each switch; nothing personal."""
    ready(settings.web_port)
    shell.out("publish", "-", stdin="\n".join(map(json.dumps, CHANGES)).encode())
    shell.out("wait", "--timeout", MINUTE)
    pages: list[tuple[Any, Any]] = []
    for store in ("small", "main", "quick"):
        if store != "small":
            assert json.loads(shell.run("journal", "switch", store, "--timeout", MINUTE).stdout)["store"] == store
        conflicts = told(shell, "journal", "conflicts", "--source", "web", "--target", "crm")
        pages.append((told(shell, "journal", "changes"), conflicts))
    changes, conflicts = pages[0]
    assert pages[1:] == pages[:1] * 2
    expected = [("customer:1", "update"), ("customer:1", "update"), ("customer:2", "create"), ("customer:3", "refused")]
    assert kinds(changes) == expected
    assert sorted(row["fields"][0] for row in conflicts["rows"]) == ["email", "tier"]
    status = told(shell, "journal", "status")
    assert (status["store"], status["before"], status["missing"]) == ("quick", "main", 0)
    assert [(topic["rows"], topic["behind"]) for topic in status["topics"]] == [(4, 0), (2, 0)]
    of_one = told(shell, "journal", "changes", "--entity", "customer:1", "--field", "email", "--since", "1h")
    assert [row["source"] for row in of_one["rows"]] == ["web", "crm"]
    stats = told(shell, "journal", "stats", "--of", "changes", "--by", "field")
    assert {one["name"]: one["records"] for one in stats} == {"email": 2, "tier": 4}
    assert "example.com" not in json.dumps(pages)
    verbose, metrics = get(settings.web_port, "/readyz?verbose")[1], get(settings.web_port, "/metrics")[1]
    assert "ok   journal: store quick (redis): caught up" in verbose
    assert 'syncline_journal_store{store="quick"} 1.0' in metrics
    assert "example.com" not in (tmp_path / "worker.log").read_text()


def test_history_tells_what_each_change_did(shell: Shell) -> None:
    """Values that moved, conflicts and refusals, in the order of the topic: from the topic alone, without a worker."""
    shell.out("publish", "-", stdin="\n".join(map(json.dumps, CHANGES)).encode())
    lines = shell.out("history", "customer:1")
    assert "the entity exists" in lines and 'tier: "gold" -> "silver"' in lines and "conflict about tier" in lines
    assert "example.com" not in lines
    assert "refused, clock_skew" in shell.out("history", "customer:3")
    steps = told(shell, "history", "customer:1")["changes"]
    assert [step["change"]["source"] for step in steps] == ["crm", "web"]
    assert "customer:9" in refused(shell, "history", "customer:9")


def test_pages_of_the_command_line(shell: Shell) -> None:
    """Each row once, whatever the limit is; what is no cursor and what is no time gets one line."""
    shell.out("publish", "-", stdin="\n".join(map(json.dumps, CHANGES)).encode())
    page = told(shell, "journal", "changes", "--limit", "3")
    rest = told(shell, "journal", "changes", "--limit", "3", "--cursor", page["cursor"])
    found = [(row["partition"], row["offset"]) for row in (*page["rows"], *rest["rows"])]
    assert (len(found), len(set(found)), rest["cursor"]) == (4, 4, None)
    assert "is no cursor" in refused(shell, "journal", "changes", "--cursor", "nonsense")
    assert "RFC 3339" in refused(shell, "journal", "changes", "--since", "yesterday")


def test_what_cannot_be_switched_to_is_refused(
    shell: Shell, deployment: Deployment, tmp_path: Path, redis_server: RedisServer
) -> None:
    """A store that is not declared, or does not answer, is left alone, and no password is shown."""
    shell.out("publish", "-", stdin=json.dumps(CHANGES[0]).encode())
    assert "did you mean 'main'" in refused(shell, "journal", "switch", "mainn")
    assert "that URL" in refused(shell, "journal", "switch", "redis://user:secret@127.0.0.1:1/0")
    away = Shell(deployment, SYNCLINE_CHANGELOG="redis://:hidden@127.0.0.1:1/0")
    line = refused(away, "journal", "status")
    assert "store changelog (redis at 127.0.0.1:1/0): Redis: ConnectionError" in line
    bare = Shell(deployment)
    assert "no change log is configured" in refused(bare, "journal", "status")
    assert "is in the memory of workers" in refused(shell, "journal", "cleanup")


def test_a_switch_that_nobody_follows_says_what_may_be_wrong(
    deployment: Deployment, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker runs, or none that knows the store: the command waits no longer than it may, and says where to look."""
    monkeypatch.setattr("syncline.commands.journal.STANDS_SECONDS", 0.1)
    shell = InProcess(deployment, SYNCLINE_CONFIG=str(config))
    shell.out("publish", "-", stdin=json.dumps(CHANGES[0]).encode())
    done = shell.run("journal", "switch", "quick", "--timeout", "2")
    assert done.returncode == 1
    assert b"still lacks 1 of 1 records; nothing comes: does a worker run" in done.stderr
    assert b"store quick lacks 1 of 1 records after 2 s" in done.stderr


def test_a_worker_that_is_killed_loses_no_row(
    deployment: Deployment, shell: Shell, settings: Settings, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """kill -9 in the middle, another one goes on: the store has each record once."""
    url = postgres_server.new_database()
    own = with_changes(settings, {"changelog": url})
    first = WorkerProcess(own, tmp_path / "first.log")
    ready(own.web_port)
    many = [change(f"{at % 41}", "crm" if at % 2 else "web", fields={"n": at}) for at in range(600)]
    shell.out("publish", "-", stdin="\n".join(map(json.dumps, many)).encode())
    os.kill(first.pid, signal.SIGKILL)
    assert first.stop() == -signal.SIGKILL
    second = WorkerProcess(own, tmp_path / "second.log")
    ready(own.web_port)
    shell.out("wait", "--timeout", MINUTE)
    asyncio.run(JournalRun(deployment, plan_of({"changelog": url})).complete_in("changelog"))
    assert second.stop() == 0


def test_a_store_that_is_away_holds_nothing_up(
    deployment: Deployment, shell: Shell, settings: Settings, tmp_path: Path, own_redis: RedisServer
) -> None:
    """Without its store a worker is ready and resolves, and says so; when the store is there it gets everything."""
    own_redis.kill()
    settings = with_changes(settings, {"changelog": own_redis.url()})
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    ready(settings.web_port)
    two = [change("1", source, fields={"n": source}) for source in ("crm", "web")]
    shell.out("publish", "-", stdin="\n".join(map(json.dumps, two)).encode())
    shell.out("wait", "--timeout", MINUTE)
    status, verbose = get(settings.web_port, "/readyz?verbose")
    assert (status, "fail journal: no store: StoreUnavailable: Redis: ConnectionError" in verbose) == (200, True)
    own_redis.start()
    asyncio.run(JournalRun(deployment, plan_of({"changelog": own_redis.url()})).complete_in("changelog"))
    assert worker.stop() == 0
