"""`publish`, and the commands to workers: `force-sync`, `invalidate`."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from syncline.commands.options import (
    KeyArgument,
    check_key,
    check_target,
    read_policy,
    read_targets,
    with_settings,
)
from syncline.terminal import CommandError, run, say, write_json

if TYPE_CHECKING:
    from agents.settings import Settings


@with_settings
def publish(
    settings: Settings,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines, one change a line; - is stdin.")],
) -> None:
    """Publish changes; prints a JSON summary. A bad line is reported with its number, the rest is published.

    Exit code 1 if any line was bad.
    """
    from syncline.line_file import NotDelivered, Summary, publish_lines
    from syncline.publisher import Publisher

    async def work(source: BinaryIO) -> Summary:
        async with Publisher(
            settings.kafka, settings.topic_prefix, partitions=settings.partitions, limits=limits
        ) as publisher:
            return await publish_lines(
                publisher, source, lambda number, message: say(f"syncline: {name}, line {number}: {message}"), limits
            )

    limits = read_policy(settings).limits
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            summary = run(settings, work(sys.stdin.buffer))
        else:
            with open(file, "rb") as source:
                summary = run(settings, work(source))
    except NotDelivered as error:
        raise CommandError(f"{name}: {error}") from error
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}; give a file of JSON lines, or - for stdin") from None
    write_json(summary.as_json())
    if summary.bad:
        raise typer.Exit(1)


@with_settings
def force_sync(
    settings: Settings,
    key: KeyArgument,
    target: Annotated[str | None, typer.Option(help="Only this target, whole, and at once in every mode.")] = None,
) -> None:
    """Have an entity's golden record and view entry written again from its state, and so delivered to all targets."""
    if target is None:
        _command(settings, "force_sync", key)
        return
    from syncline.target_letters import forced, write_letters

    said = check_target(settings, read_targets(settings), target)
    try:
        letters = run(settings, forced(settings, target, said, {check_key(key)}))
    except LookupError:
        raise CommandError(f"{key!r} has no golden record; syncline get says more") from None
    if not letters:
        raise CommandError(f"target {target} gets no entities of type {key.partition(':')[0]!r}")
    run(settings, write_letters(settings, ((letter, True) for letter in letters)))
    write_json({"key": key, "kind": "force_sync", "target": target})


@with_settings
def invalidate(settings: Settings, key: KeyArgument) -> None:
    """Have an entity's view entry deleted, until it is next written."""
    _command(settings, "invalidate", key)


def _command(settings: Settings, kind: Literal["force_sync", "invalidate"], key: str) -> None:
    from uuid import uuid4

    from agents.kafka_producer import started_producer
    from agents.names import TopicNames
    from schemas.codec import encode_command
    from schemas.command import Command
    from syncline.hybrid_clock import wall_clock_ms
    from syncline.topic_reader import partitions_of

    topic = TopicNames.with_prefix(settings.topic_prefix).commands
    entity_type, _, entity_id = key.partition(":")
    raw = check_key(key)
    command = Command(
        command_id=str(uuid4()),
        kind=kind,
        entity_type=entity_type,
        entity_id=entity_id,
        requested_by=getpass.getuser(),
        requested_at=wall_clock_ms(),
    )

    async def work() -> None:
        if not await partitions_of(settings.kafka, topic):
            raise CommandError(f"topic {topic} is not there; a worker creates it: syncline worker")
        producer = await started_producer(settings.kafka)
        try:
            await producer.send_and_wait(topic, key=raw, value=encode_command(command))
        finally:
            await producer.stop()

    run(settings, work())
    write_json({"command_id": command.command_id, "key": key, "kind": kind})
