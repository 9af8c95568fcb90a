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
from agents.resolve import Work
from schemas.codec import decode_command
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
        # The same outbox as for changes: what is sent again must not overtake, nor fall behind, a change.
        await work.outbox.room(partition)
        carried = Carried()
        for index, record in enumerate(event.value):
            try:
                await carry_out(work, decisions, partition, record, carried)
            except Refusal as refusal:
                letter = DeadLetter(index, refusal.reason, refusal.stage, str(refusal))
                carried.effects.dead_letters.append(letter)

        async def acknowledge() -> None:
            await batches.ack(event)

        work.perform(event.message.tp, event.value, carried.effects, acknowledge, decided=carried.decided)

    return command


async def carry_out(work: Work, decisions: Decisions, partition: int, record: Any, carried: Carried) -> None:
    """Add one command's effects. Raises Refusal for a command that cannot be carried out."""
    key, value = record.key, record.value
    if value is None:
        raise Refusal("null_value", "the command has no value", "check")
    wanted = decode_command(value)
    if key != f"{wanted.entity_type}:{wanted.entity_id}".encode():
        raise Refusal("key_mismatch", "the record's key is not the entity key of the command in it", "check")
    if wanted.kind == "force_sync":
        state = work.table.partition(partition).get(key)
        if state is None:
            raise Refusal("bad_command", "force_sync: this entity has never been written", "resolve")
        again = work.kernel.reemit(partition, key, state)
        carried.effects.records.extend(again.records)
        carried.effects.view.extend(again.view)
    elif wanted.kind == "invalidate":
        await invalidate(work, key)
    else:
        decision = await decisions.decide(partition, key, wanted, record.timestamp)
        if decision is not None:
            carried.decided.append(decision)
    work.metrics.commands.labels(wanted.kind).inc()


async def invalidate(work: Work, key: bytes) -> None:
    """Delete the view's key. A view that is gone has lost it anyway, so this is never a reason to stop."""
    if work.hand_over.view is None:
        return
    try:
        await work.hand_over.view.invalidate(key)
    except Exception as error:
        log.warning("The view took no invalidation: %r", error)
