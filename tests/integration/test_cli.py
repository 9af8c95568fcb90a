"""The command line against real servers: what is published comes out, the same in every place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.settings import Settings
from schemas.codec import decode_record
from syncline import Publisher, SyncPublisher
from syncline.demo import STORY_FILE, STORY_POLICY
from syncline.places import newest_values
from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings

PLACES = ("view", "records", "table", "replay")
TIMEOUT_SECONDS = 120


@pytest.fixture
def shell(deployment: Deployment) -> Shell:
    """A shell whose policy is the story's."""
    return Shell(deployment, SYNCLINE_CONFIG=str(STORY_POLICY))


@pytest.fixture
def settings(deployment: Deployment) -> Settings:
    """The same as settings, for a worker."""
    return worker_settings(deployment, config=str(STORY_POLICY), partitions=2)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A running worker, which must end with 0 when it is told to."""
    process = WorkerProcess(settings, tmp_path / "worker.log")
    yield process
    assert process.stop() == 0


def change(entity_id: str, **more: Any) -> dict[str, Any]:
    """A change of crm in its JSON form."""
    head = {"entity_type": "customer", "entity_id": entity_id, "op": "update", "source": "crm"}
    return {**head, "fields": {"name": entity_id}, **more}


def lines(*changes: dict[str, Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in changes)


def test_what_is_published_comes_out_in_every_place(shell: Shell, worker: WorkerProcess) -> None:
    """The story, published with its bad line, ends in the same lines in all four places, and get and explain agree."""
    done = shell.run("publish", str(STORY_FILE))
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["published"], summary["bad"], summary["bad_lines"]) == (1, 20, 1, [9])
    assert done.stderr.decode().count("\n") == 1
    assert "line 9: bad_value" in done.stderr.decode()
    assert shell.out("wait", "--timeout", "60") == ""

    exported = {place: shell.out("export", place) for place in PLACES}
    assert set(exported.values()) == {exported["view"]}
    keys = [json.loads(line)["key"] for line in exported["view"].splitlines()]
    assert keys == [f"customer:{name}" for name in ("ada", "alan", "grace", "katherine")]
    found = json.loads(shell.out("digest", *PLACES, "-o", "json"))
    assert {(row["count"], row["sha256"]) for row in found} == {
        (4, hashlib.sha256(exported["view"].encode()).hexdigest())
    }

    ada = json.loads(exported["view"].splitlines()[0])
    record = json.loads(shell.out("get", "customer:ada", "-o", "json"))
    assert (record["fields"], record["contested"], record["exists"]) == (ada["fields"], ada["contested"], True)
    assert "platinum" in shell.out("get", "customer:ada")
    told = json.loads(shell.out("explain", "customer:ada", "tier", "-o", "json"))
    assert told["policy_version"] == record["policy_version"]
    (tier,) = told["reasons"]
    assert tier["value"] == record["fields"]["tier"] == "platinum"
    assert [write["standing"] for write in tier["writes"]] == ["wins", "overruled"]
    assert "crm@3 had read billing@1" in shell.out("explain", "customer:ada")
    assert "group postal goes to crm" in shell.out("explain", "customer:katherine")


def test_a_deleted_entity_is_shown_as_deleted(shell: Shell, worker: WorkerProcess) -> None:
    """Get and explain tell of a deleted entity what the table still knows, and export has no line of it."""
    history = [change("1", version=1, seen={}), change("1", version=2, seen={"crm": 1}, op="delete", fields={})]
    shell.out("publish", "-", stdin=lines(*history))
    shell.out("wait", "--timeout", "60")
    assert json.loads(shell.out("get", "customer:1", "-o", "json"))["exists"] is False
    assert "is deleted" in shell.out("get", "customer:1")
    assert "crm@2" in shell.out("explain", "customer:1", "*")
    assert shell.out("export", "table") == shell.out("export", "view") == ""
    done = shell.run("get", "customer:2")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


def test_an_empty_deployment_is_no_mistake(shell: Shell) -> None:
    """Before anything is published, every place is empty, nothing is waited for, and no topic is made by looking."""
    empty = hashlib.sha256(b"").hexdigest()
    found = json.loads(shell.out("digest", *PLACES, "-o", "json"))
    assert {(row["count"], row["sha256"]) for row in found} == {(0, empty)}
    assert shell.out("wait", "--timeout", "5") == ""
    assert "none of" in next(line for line in shell.out("doctor").splitlines() if "topics" in line)


def test_waiting_in_vain_says_what_is_left(shell: Shell) -> None:
    """Without a worker, wait ends with 1 after its time-out, and says how much is left and what to look at."""
    shell.out("publish", "-", stdin=lines(change("1"), change("2")))
    done = shell.run("wait", "--timeout", "1")
    assert done.returncode == 1
    assert "2 offsets of" in done.stderr.decode()
    assert "worker" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_doctor_finds_a_sound_deployment(shell: Shell) -> None:
    """After the topics are made, every part is fine, and the clocks were compared."""
    shell.out("publish", "-", stdin=lines(change("1")))
    found = {part["part"]: part for part in json.loads(shell.out("doctor", "-o", "json"))}
    assert list(found) == ["broker", "topics", "redis", "change log", "policy", "clock"]
    assert all(part["ok"] for part in found.values())
    assert "partitions: 2" in found["topics"]["detail"]
    assert "not configured" in found["change log"]["detail"]


def test_the_order_of_lines_of_one_key_is_kept(shell: Shell, deployment: Deployment) -> None:
    """Changes of one entity are on Kafka in the order of the file, duplicates included, over several batches."""
    history = [change(str(number % 7), version=number // 7 + 1, fields={"n": number}) for number in range(5_000)]
    summary = json.loads(shell.out("publish", "-", stdin=lines(*history, *history[:70])))
    assert (summary["published"], summary["bad"]) == (5_070, 0)

    async def versions() -> dict[bytes, list[int]]:
        from schemas.fast import decode_change
        from syncline.topic_reader import read_topic

        found: dict[bytes, list[int]] = {}
        async for _, records in read_topic(deployment.kafka, f"{deployment.topic_prefix}changes"):
            for record in records:
                found.setdefault(record.key, []).append(decode_change(record.value).version)
        return found

    found = asyncio.run(versions())
    assert found == {
        f"customer:{entity}".encode(): [
            each["version"] for each in history + history[:70] if each["entity_id"] == str(entity)
        ]
        for entity in range(7)
    }


async def test_an_informed_update_passes(deployment: Deployment, settings: Settings, worker: WorkerProcess) -> None:
    """What is published after reading a record stands over all that was in it, whatever ranks and times say."""
    from syncline.waiting import wait_until_visible

    async def read() -> Any:
        await wait_until_visible(settings, 60)
        values = await newest_values(deployment.kafka, f"{deployment.topic_prefix}records", b"customer:1")
        return decode_record(values[b"customer:1"])

    async with Publisher(deployment.kafka, deployment.topic_prefix, partitions=2) as publisher:
        placed = await publisher.publish_many(
            [change("1", fields={"tier": "gold"}, source="billing"), change("1", fields={"tier": "a"}, source="web")]
        )
        assert placed[1].offset == placed[0].offset + 1
        record = await read()
        assert (record.fields, record.contested) == ({"tier": "gold"}, ["tier"])
        await publisher.update(record, fields={"tier": "b"}, source="web")
        record = await read()
        assert (record.fields, record.contested) == ({"tier": "b"}, [])
        await publisher.delete(record, source="web")
        await wait_until_visible(settings, 60)
        assert await newest_values(deployment.kafka, f"{deployment.topic_prefix}records") == {}


def test_programs_without_asyncio_publish_too(deployment: Deployment) -> None:
    """The publisher with a thread of its own returns where Kafka put a change, from any thread, and ends its thread."""
    before = threading.active_count()
    with SyncPublisher(deployment.kafka, deployment.topic_prefix, partitions=2) as publisher:
        placed = [publisher.publish(change("1")) for _ in range(3)]
        placed += publisher.publish_many([change("1")])
    assert [each.offset for each in placed] == [placed[0].offset + number for number in range(4)]
    assert threading.active_count() == before


def test_places_that_differ_are_told(shell: Shell, worker: WorkerProcess) -> None:
    """Digest ends with 1 and one line when a place holds something else, here a replay under another policy."""
    history = [change("1", fields={"tags": ["a"]}), change("1", source="web", fields={"tags": ["b"]})]
    shell.out("publish", "-", stdin=lines(*history))
    shell.out("wait", "--timeout", "60")
    del shell.environment["SYNCLINE_CONFIG"]
    done = shell.run("digest", "records", "replay", "-o", "json")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"records, replay differ" in done.stderr
    assert len({row["sha256"] for row in json.loads(done.stdout)}) == 2
    assert b"SYNCLINE_CONFIG" in shell.run("explain", "customer:1").stderr


def test_commands_reach_the_worker(shell: Shell, worker: WorkerProcess, deployment: Deployment) -> None:
    """Invalidate takes an entity out of the view, force-sync brings it back."""
    shell.out("publish", "-", stdin=lines(change("1")))
    shell.out("wait", "--timeout", "60")
    full = shell.out("export", "view")
    assert json.loads(shell.out("invalidate", "customer:1"))["kind"] == "invalidate"
    until(lambda: shell.out("export", "view") == "")
    assert json.loads(shell.out("force-sync", "customer:1"))["kind"] == "force_sync"
    until(lambda: shell.out("export", "view") == full)
    assert json.loads(shell.out("view", "rebuild"))["dropped_keys"] >= 1
    until(lambda: shell.out("export", "view") == full)


def until(holds: Any) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)


def embedded_environment() -> dict[str, str]:
    """An environment in which nothing is configured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYNCLINE_")} | {"NO_COLOR": "1"}


def test_demo_shows_conflicts_and_ends_by_itself() -> None:
    """On embedded servers, the demo ends with 0, and tells winners, reasons, dead letters and one digest."""
    command = [sys.executable, "-m", "syncline", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env=embedded_environment(), timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    for words in (
        "billing@1 over crm@1: billing ranks before crm",
        "on_delete is update_wins",
        "web wrote 30 min later; until a person",
        "crm@2 over web@1: the group postal goes to crm",
        *("clock_skew", "unknown_source", "not_avro"),
        "view = records = table = replay",
    ):
        assert words in " ".join(done.stdout.split()), words
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "started an embedded one" in done.stderr
    assert "customers.jsonl, line 9: bad_value" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_demo_takes_a_file_of_ones_own(tmp_path: Path, deployment: Deployment) -> None:
    """With --input on configured servers the demo shows that file's entities, twice as well, and mixes no others in."""
    file = tmp_path / "own.jsonl"
    file.write_bytes(lines(change("a", version=1), change("a", version=1, source="web", fields={"name": "b"})))
    shell = Shell(deployment)
    for _ in range(2):
        done = shell.run("demo", "--input", str(file), "-o", "json")
        report = json.loads(done.stdout)
        assert (done.returncode, report["agreed"]) == (0, True)
        assert [record["entity_id"] for record in report["records"]] == ["a"]
    other = shell.run("demo")
    assert (other.returncode, other.stdout) == (1, b"")
    assert b"has changes that are not of customers.jsonl" in other.stderr


def test_up_serves_another_shell_until_it_is_stopped() -> None:
    """The lines that up prints are all another shell needs, and SIGINT ends every process with code 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "syncline", "up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=embedded_environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        family = []
        try:
            exports = [process.stdout.readline() for _ in range(2)]
            shell = Shell.__new__(Shell)
            shell.environment = embedded_environment() | dict(
                line.removeprefix("export ").strip().split("=", 1) for line in exports
            )
            shell.out("publish", "-", stdin=lines(change("1")))
            shell.out("wait", "--timeout", "60")
            assert json.loads(shell.out("export", "view"))["key"] == "customer:1"
            family = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
    assert code == 0
    assert len(family) >= 3
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
