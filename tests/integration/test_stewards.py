"""People decide on a running deployment: real Kafka, a real worker, the command line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.names import TopicNames
from agents.settings import Settings
from schemas.codec import decode_change
from streams.open_conflicts import OpenConflict
from streams.policy import Policy
from syncline.commands.deciding import command_about
from syncline.commands.options import read_policy
from syncline.inbox import read_inbox
from syncline.outcomes import Outcome, carry_out
from syncline.processes import WorkerProcess
from syncline.topic_reader import connected, partitions_of, read_topic
from tests.conftest import Deployment
from tests.integration.shell import InProcess, Shell, worker_settings

POLICY = "entities: {customer: {fields: {email: {resolver: manual, personal: true}, tier: {resolver: manual}}}}\n"
DEADLINE_SECONDS = 60.0


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A policy file with fields that people decide."""
    path = tmp_path / "syncline.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def shell(deployment: Deployment, config: str) -> Shell:
    """A shell with that policy."""
    return InProcess(deployment, SYNCLINE_CONFIG=config)


@pytest.fixture
def settings(deployment: Deployment, config: str) -> Settings:
    """The same as settings, for a worker."""
    return worker_settings(deployment, config=config, partitions=2)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A running worker, which must end with 0 when it is told to."""
    process = WorkerProcess(settings, tmp_path / "worker.log")
    yield process
    assert process.stop() == 0


def edits(entity_id: str = "1", field: str = "email", version: int = 1) -> bytes:
    """Two edits that did not know of each other, as JSON lines."""
    head = {"entity_type": "customer", "entity_id": entity_id, "op": "update", "version": version, "occurred_at": 1000}
    each = [{**head, "source": source, "fields": {field: f"{source[0]}@x"}} for source in ("crm", "web")]
    return b"".join(json.dumps(one).encode() + b"\n" for one in each)


def published(shell: Shell, lines: bytes) -> None:
    shell.out("publish", "-", stdin=lines)
    shell.out("wait", "--timeout", "60")


def listed(shell: Shell, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shell.out("conflicts", "list", "-o", "json", *more))["conflicts"]
    return found


def until(holds: Callable[[], bool]) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)


def resolutions(conflict: OpenConflict, clock: dict[str, int], *names: str) -> list[Any]:
    """Commands of several people about one conflict, each for a value of their own."""
    about = {"seen": clock, "conflict_id": conflict.conflict_id}
    return [command_about("resolve", conflict.key, conflict.field, name, value=f"{name}@x", **about) for name in names]


async def changes_of(settings: Settings, prefix: str) -> list[Any]:
    """The changes of sources that begin so, in their order."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    found = []
    async for _, records in read_topic(settings.kafka, names.changes):
        found += [decode_change(record.value) for record in records]
    return [change for change in found if change.source.startswith(prefix)]


async def appeared(settings: Settings) -> None:
    """Returns with the first change of a steward."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    async with connected(settings.kafka) as consumer:
        consumer.assign(await partitions_of(settings.kafka, names.changes))
        await consumer.seek_to_beginning()
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for record in consumer:
                if decode_change(record.value).source.startswith("steward:"):
                    return


def test_a_conflict_is_seen_decided_and_taken_back(shell: Shell, worker: WorkerProcess) -> None:
    """From the list to a decision to its undo; every place holds the same at each step, and the second is refused."""
    published(shell, edits())
    (conflict,) = listed(shell)
    assert (conflict["outcome"], conflict["provisional"], conflict["value"]) == ("pending", True, "***")
    (revealed,) = listed(shell, "--where", "field=email", "--where", "source=crm", "--reveal")
    assert [one["value"] for one in revealed["candidates"]] == ["c@x", "w@x"]
    assert "provisional" in shell.out("get", "customer:1")
    one = conflict["conflict_id"]
    assert "not told" in shell.out("conflicts", "show", one[:10])

    would = json.loads(shell.out("conflicts", "resolve", one, "--take", "crm", "--dry-run", "-o", "json"))
    assert [one["key"] for one in would["would_decide"]] == ["customer:1"]
    assert len(listed(shell)) == 1
    resolve = (
        "conflicts",
        "resolve",
        one,
        "--take",
        "crm",
        "--as",
        "ana",
        "--note",
        "asked her",
        "-o",
        "json",
        "--reveal",
    )
    (outcome,) = json.loads(shell.out(*resolve))["outcomes"]
    assert (outcome["outcome"], outcome["value"], outcome["pending"]) == ("decided", "c@x", False)
    assert listed(shell) == []
    assert "asked her" in shell.out("conflicts", "show", one)
    late = shell.run("conflicts", "resolve", one, "--take", "web", "--as", "bo")
    assert late.returncode == 1
    assert b"is decided: customer:1 email, by steward:ana@" in late.stderr

    (undone,) = json.loads(shell.out("conflicts", "undo", outcome["decision"], "--as", "bo", "-o", "json"))["outcomes"]
    assert (undone["outcome"], undone["pending"]) == ("decided", True)
    assert [one["conflict_id"] for one in listed(shell)] == [one]
    shell.out("wait", "--timeout", "60")
    shell.out("digest", "table", "records", "view", "replay")


def test_many_are_decided_at_once_and_each_outcome_is_told(shell: Shell, worker: WorkerProcess) -> None:
    """Bulk: what --where lets pass is decided, but for what is deferred; a value for another field is left out."""
    published(shell, b"".join(edits(str(number), "tier") for number in range(5)) + edits("5", "email"))
    found = listed(shell)
    assert len(found) == 6
    hidden = found[0]["conflict_id"]
    told = json.loads(shell.out("conflicts", "defer", hidden, "--until", "1h", "--note", "later", "--as", "ana"))
    assert (told["by"], told["key"]) == ("ana", "customer:0")
    assert len(listed(shell)) == 5
    assert [one["conflict_id"] for one in listed(shell, "--deferred")] == [hidden]
    done = shell.run("conflicts", "resolve", "--where", "type=customer", "--set", 'tier="gold"', "-o", "json")
    outcomes = json.loads(done.stdout)["outcomes"]
    assert [(one["key"], one["outcome"]) for one in outcomes] == [(f"customer:{n}", "decided") for n in range(1, 5)]
    assert b"customer:5: the conflict is about email" in done.stderr
    assert json.loads(shell.out("conflicts", "reopen", hidden[:12]))["key"] == "customer:0"
    assert sorted(one["key"] for one in listed(shell)) == ["customer:0", "customer:5"]


def test_of_two_stewards_at_once_the_second_sees_the_first(
    shell: Shell, worker: WorkerProcess, settings: Settings
) -> None:
    """All had the same conflict before them: one decides, the others are refused and told what stands."""
    published(shell, edits())
    policy: Policy = read_policy(settings)

    async def at_once() -> list[list[Outcome]]:
        inbox = await read_inbox(settings, policy)
        clock = inbox.states["customer:1"].clock()
        commands = resolutions(inbox.conflicts[0], clock, "ana", "bo", "cy", "di")
        return list(await asyncio.gather(*(carry_out(settings, [one], DEADLINE_SECONDS) for one in commands)))

    outcomes = [outcome for (outcome,) in asyncio.run(at_once())]
    decided = [one for one in outcomes if one.state == "decided"]
    assert len(decided) == 1
    name = decided[0].command.requested_by
    for one in outcomes:
        if one is not decided[0]:
            assert (one.state, one.reason) == ("refused", "superseded")
            assert f"steward:{name}@" in one.message
    assert [change.source for change in asyncio.run(changes_of(settings, "steward:"))] == [f"steward:{name}"]
    assert json.loads(shell.out("get", "customer:1", "-o", "json"))["fields"]["email"] == f"{name}@x"


@pytest.mark.real_kafka
def test_a_worker_killed_after_the_change_decides_nothing_twice(
    shell: Shell, settings: Settings, tmp_path: Path
) -> None:
    """Killed between the decision and the commit of its command, the next worker gets it again: one decision stands."""
    worker = WorkerProcess(settings, tmp_path / "first.log")
    published(shell, edits())
    policy: Policy = read_policy(settings)

    async def decided_and_killed() -> list[Any]:
        inbox = await read_inbox(settings, policy)
        return resolutions(inbox.conflicts[0], inbox.states["customer:1"].clock(), "ana", "bo")

    first, second = asyncio.run(decided_and_killed())

    async def send_and_kill() -> Outcome:
        # As soon as the change is there: the command's offset is committed half a second later at the soonest.
        sending = asyncio.create_task(carry_out(settings, [first], DEADLINE_SECONDS))
        await appeared(settings)
        worker.kill()
        replacement = WorkerProcess(settings, tmp_path / "second.log")
        try:
            outcome = (await sending)[0]
            (late,) = await carry_out(settings, [second], DEADLINE_SECONDS)
        finally:
            assert replacement.stop() == 0
        assert (late.state, late.reason) == ("refused", "superseded")
        return outcome

    assert asyncio.run(send_and_kill()).state == "decided"
    assert {change.source for change in asyncio.run(changes_of(settings, "steward:"))} == {"steward:ana"}
    dots = {change.version for change in asyncio.run(changes_of(settings, "steward:"))}
    assert len(dots) == 1
    shell.out("digest", "table", "records", "replay")


def test_a_pin_holds_until_it_is_released(shell: Shell, worker: WorkerProcess) -> None:
    """What a source writes under a pin, having read it, counts when the pin is over: by hand, or when its time is."""
    published(shell, edits()[: edits().index(b"\n") + 1])
    pin = ("pin", "customer:1", "email", "--as", "ana", "-o", "json", "--reveal")
    (outcome,) = json.loads(shell.out(*pin, "--value", '"p@x"', "--until", "1h"))["outcomes"]
    assert (outcome["outcome"], outcome["value"]) == ("decided", "p@x")
    read = json.loads(shell.out("get", "customer:1", "-o", "json"))["clock"]
    later = {"entity_type": "customer", "entity_id": "1", "op": "update", "version": 2, "source": "crm", "seen": read}
    published(shell, json.dumps({**later, "fields": {"email": "n@x"}}).encode() + b"\n")
    assert json.loads(shell.out("get", "customer:1", "-o", "json"))["fields"]["email"] == "p@x"
    assert "pinned by steward:ana, until 20" in shell.out("explain", "customer:1", "email")
    refused = shell.run("unpin", "customer:1", "email", "--as", "bo")
    assert (refused.returncode, b"steward:ana did" in refused.stderr) == (1, True)
    (outcome,) = json.loads(shell.out("unpin", "customer:1", "email", "--as", "ana", "-o", "json", "--reveal"))[
        "outcomes"
    ]
    assert (outcome["outcome"], outcome["value"], outcome["contested"]) == ("decided", "n@x", False)

    (outcome,) = json.loads(shell.out(*pin, "--until", "15s"))["outcomes"]
    assert (outcome["outcome"], outcome["value"]) == ("decided", "n@x")

    def held() -> bool:
        (reason,) = json.loads(shell.out("explain", "customer:1", "email", "-o", "json"))["reasons"]
        return reason["pin"] is not None

    until(lambda: not held())
    shell.out("wait", "--timeout", "60")
    shell.out("digest", "table", "records", "view", "replay")


def test_without_a_worker_the_command_waits(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    """No worker answers in time: that is said, nothing is lost, and the next worker carries it out."""
    worker = WorkerProcess(settings, tmp_path / "first.log")
    published(shell, edits())
    assert worker.stop() == 0
    (conflict,) = listed(shell)
    done = shell.run("conflicts", "resolve", conflict["conflict_id"], "--take", "web", "--timeout", "1")
    assert (done.returncode, b"no worker took it in time" in done.stdout) == (1, True)
    worker = WorkerProcess(settings, tmp_path / "second.log")
    until(lambda: listed(shell) == [])
    assert worker.stop() == 0
