"""The agent on `commands`: what a person or a tool asks for, beside the changes of the same entity.

`commands` has as many partitions as `changes`, so the states it asks about are in this worker's table.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agents.dead_letters import Row
from agents.decisions import Decisions
from agents.ending import EX_SOFTWARE, end_process
from agents.resolve import Kernel, Work
from schemas.codec import decode_command
from schemas.command import Command
from schemas.refusal import Refusal
from streams.effects import BatchEffects, DeadLetter

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Carried:
    """What a batch of commands causes. decided: records for `changes`."""

    effects: BatchEffects = field(default_factory=BatchEffects)
    decided: list[Row] = field(default_factory=list)


def commands_agent(work: Work, decisions: Decisions) -> Callable[[Any], Awaitable[None]]:
    """The agent's body, to be registered on `commands` by name."""

    async def command(stream: Any) -> None:
        batches = stream.noack()  # acknowledged by hand, as in agents/resolve.py
        try:
            async for event in batches.events():
                await perform_all(batches, event)
        except Exception as error:
            end_process(EX_SOFTWARE, f"a command failed, nothing of its batch is acknowledged: {error!r}")

    async def perform_all(batches: Any, event: Any) -> None:
        partition = event.message.partition
        carried, again = Carried(), list[tuple[int, Command]]()
        for index, record in enumerate(event.value):
            try:
                wanted = read_command(record.key, record.value)
                if wanted.kind == "force_sync":
                    again.append((index, wanted))
                else:
                    await carry_out(work, decisions, partition, wanted, record, carried)
                    work.metrics.commands.labels(wanted.kind).inc()
            except Refusal as refusal:
                refuse(index, refusal, carried)
        # The same outbox as for changes: what is sent again must not overtake, nor fall behind, a change. So nothing
        # is awaited between the place in it and the sends.
        kernel = await work.turn(partition)
        for index, wanted in again:
            try:
                send_again(work, kernel, partition, wanted, carried.effects)
                work.metrics.commands.labels(wanted.kind).inc()
            except Refusal as refusal:
                refuse(index, refusal, carried)
        carried.effects.dead_letters.sort()

        async def acknowledge() -> None:
            await batches.ack(event)

        work.perform(event.message.tp, event.value, carried.effects, acknowledge, decided=carried.decided)

    return command


def refuse(index: int, refusal: Refusal, carried: Carried) -> None:
    """The command at a place of the batch goes to dead letters."""
    carried.effects.dead_letters.append(DeadLetter(index, refusal.reason, refusal.stage, str(refusal)))


def read_command(key: bytes | None, value: bytes | None) -> Command:
    """The command in a record. Raises Refusal for one that is none."""
    if value is None:
        raise Refusal("null_value", "the command has no value", "check")
    wanted = decode_command(value)
    if key != f"{wanted.entity_type}:{wanted.entity_id}".encode():
        raise Refusal("key_mismatch", "the record's key is not the entity key of the command in it", "check")
    return wanted


async def carry_out(
    work: Work, decisions: Decisions, partition: int, wanted: Command, record: Any, carried: Carried
) -> None:
    """Carry out a command that sends no record again. Raises Refusal for one that cannot be carried out."""
    if wanted.kind == "invalidate":
        await invalidate(work, record.key)
        return
    decision = await decisions.decide(partition, record.key, wanted, record.timestamp)
    if decision is not None:
        carried.decided.append(decision)


def send_again(work: Work, kernel: Kernel, partition: int, wanted: Command, effects: BatchEffects) -> None:
    """Add the record and the row of an entity as they are now. Raises Refusal for one that was never written."""
    key = f"{wanted.entity_type}:{wanted.entity_id}".encode()
    state = work.table.partition(partition).get(key)
    if state is None:
        raise Refusal("bad_command", "force_sync: this entity has never been written", "resolve")
    again = kernel.reemit(partition, key, state)
    effects.records.extend(again.records)
    effects.view.extend(again.view)


async def invalidate(work: Work, key: bytes) -> None:
    """Delete the view's key. A view that is gone has lost it anyway, so this is never a reason to stop."""
    if work.hand_over.view is None:
        return
    try:
        await work.hand_over.view.invalidate(key)
    except Exception as error:
        log.warning("The view took no invalidation: %r", error)
