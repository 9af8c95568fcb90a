"""`syncline demo`: everything in one process tree, from the first change to the proof that all places agree."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic

from aiokafka import AIOKafkaProducer

from agents.names import TopicNames
from agents.settings import Settings
from agents.view import GUARD_PREFIX, VIEW_PREFIX
from schemas.change import parse_change_line
from schemas.refusal import Refusal
from streams.policy import Policy
from syncline.commands.options import read_policy
from syncline.demo_report import Report, make_report, print_report
from syncline.line_file import NotDelivered, Summary, numbered_lines, publish_lines
from syncline.local import servers
from syncline.processes import WorkerProcess, with_changes
from syncline.publisher import Publisher
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines
from syncline.topic_reader import read_topic
from syncline.waiting import NotInTime, wait_until_visible

STORY = Path(__file__).with_name("story")
STORY_FILE = STORY / "customers.jsonl"
STORY_POLICY = STORY / "policy.yaml"

#: What a program that knows nothing of schemas might send.
GARBAGE_KEY, GARBAGE = b"customer:grace", b"{'tier': 'gold'}"

WAIT_SECONDS = 45.0
#: Of a file of one's own: as long as a worker may need for it.
WAIT_SECONDS_FOR_INPUT = 600.0


def run_demo(settings: Settings, input_file: Path | None, output: Output) -> int:
    """Run the demo; returns the exit code: 0 when every place holds the same."""
    file = input_file or STORY_FILE
    if not file.is_file():
        raise CommandError(f"{file} is not a file; --input takes a file of JSON lines, one change a line")
    configured = {"kafka", "redis"} & settings.model_fields_set
    with servers(settings) as (running, directory):
        # No port is needed, so none can be taken already.
        running = with_changes(running, {"web_port": 0})
        if input_file is None and running.config is None:
            running = with_changes(running, {"config": str(STORY_POLICY)})
        policy = read_policy(running)
        if configured:
            run(running, _refuse_foreign_data(running, file))
        worker = WorkerProcess(running, directory / "worker.log")
        try:
            report = run(running, _publish_and_wait(running, policy, worker, file, garbage=input_file is None))
        finally:
            code = worker.stop()
    say(f"stopped the worker (exit code {code})" + ("" if len(configured) == 2 else " and the embedded servers"))
    if output is Output.json:
        write_json(report.as_json())
    else:
        print_report(report)
        write_lines(_next_steps(running, input_file, bool(configured)))
    return 0 if report.agreed and code == 0 else 1


async def _publish_and_wait(
    settings: Settings, policy: Policy, worker: WorkerProcess, file: Path, garbage: bool
) -> Report:
    started = monotonic()
    summary = await _publish(settings, file)
    say(f"published {summary.published} changes of {file.name}, {summary.bad} bad lines")
    if garbage:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all") as producer:
            topic = TopicNames.with_prefix(settings.topic_prefix).changes
            await producer.send_and_wait(topic, key=GARBAGE_KEY, value=GARBAGE)
        say("published one record that is no change at all")
    say("waiting for the worker to resolve them ...")
    limit = WAIT_SECONDS if garbage else WAIT_SECONDS_FOR_INPUT
    waiting = asyncio.create_task(wait_until_visible(settings, limit))
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.2)
        if worker.code is not None:
            waiting.cancel()
            raise CommandError(f"the worker ended with code {worker.code}: {worker.last_words()}")
    try:
        await waiting
    except NotInTime as error:
        raise CommandError(f"{error} The worker's last line: {worker.last_words()}") from None
    say(f"resolved, and visible in the view, {monotonic() - started:.1f} s after the start; verifying")
    return await make_report(settings, policy)


async def _publish(settings: Settings, file: Path) -> Summary:
    try:
        async with Publisher(settings.kafka, settings.topic_prefix, partitions=settings.partitions) as publisher:
            with file.open("rb") as lines:
                return await publish_lines(
                    publisher, lines, lambda number, message: say(f"{file.name}, line {number}: {shown(message)}")
                )
    except NotDelivered as error:
        raise CommandError(str(error)) from error


async def _refuse_foreign_data(settings: Settings, file: Path) -> None:
    """A demo must not mix its story into data that somebody needs; its own of an earlier run are no harm."""
    from redis.asyncio import Redis

    own = {GARBAGE_KEY} | await asyncio.to_thread(_keys_of, file)
    way_out = "name an empty deployment (--topic-prefix demo. --app-id demo --redis URL/1), or none for an embedded one"
    topic = TopicNames.with_prefix(settings.topic_prefix).changes
    async for _, records in read_topic(settings.kafka, topic):
        if any(record.key not in own for record in records):
            raise CommandError(f"topic {topic} at {settings.kafka} has changes that are not of {file.name}; {way_out}")
    assert settings.redis is not None, "servers() gives a Redis where none is configured"
    async with Redis.from_url(settings.redis) as redis:
        for prefix in (VIEW_PREFIX, GUARD_PREFIX):
            async for key in redis.scan_iter(match=prefix + b"*", count=1000):
                if key.removeprefix(prefix) not in own:
                    raise CommandError(f"the configured Redis has a view of entities not of {file.name}; {way_out}")


def _keys_of(file: Path) -> set[bytes]:
    keys = set()
    with file.open("rb") as lines:
        for _, line in numbered_lines(lines, 1 << 20):
            try:
                change = parse_change_line(line)
            except Refusal:
                continue
            keys.add(f"{change.get('entity_type')}:{change.get('entity_id')}".encode(errors="replace"))
    return keys


def _next_steps(settings: Settings, input_file: Path | None, configured: bool) -> list[str]:
    program = Path(sys.argv[0])
    command = _short(program) if program.name == "syncline" else f"{_short(Path(sys.executable))} -m syncline"
    file = input_file or STORY_FILE
    policy = [] if settings.config is None else [f"  export SYNCLINE_CONFIG={Path(settings.config).resolve()}"]
    looks = [f"  {command} explain {_a_key(file)}", f"  {command} digest view records table replay"]
    if configured:
        return ["", "Next:", *policy, *looks]
    return [
        "",
        "Next, with servers that stay until Ctrl-C:",
        *policy,
        f"  {command} up",
        "and in another shell, after the export lines that it prints:",
        f"  {command} publish {_short(file)}",
        f"  {command} wait --timeout 30",
        *looks,
    ]


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _a_key(file: Path) -> str:
    if file == STORY_FILE:
        return "customer:ada tier"
    keys = sorted(_keys_of(file))
    return shown(keys[0].decode()) if keys else "KEY"
