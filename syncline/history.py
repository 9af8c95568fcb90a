"""What the topics still have of earlier conflicts and commands."""

from __future__ import annotations

from contextlib import aclosing

from agents.names import TopicNames
from agents.settings import Settings
from schemas.codec import decode_command, decode_conflict
from schemas.conflict import Conflict
from schemas.refusal import Refusal
from streams.batch import BatchResolver
from streams.entity import Entity, Write
from streams.entity_codec import decode_entity
from streams.policy import Policy
from streams.stewardship import decision_of
from syncline.topic_reader import read_topic


async def recorded(settings: Settings, conflict_id: str) -> Conflict | None:
    """The last record of a conflict, by its id or the beginning of it; None where there is none."""
    found: Conflict | None = None
    names = TopicNames.with_prefix(settings.topic_prefix)
    async with aclosing(read_topic(settings.kafka, names.conflicts)) as batches:
        async for _, records in batches:
            for record in records:
                if conflict_id.encode() in record.value:
                    conflict = decode_conflict(record.value)
                    found = conflict if conflict.conflict_id.startswith(conflict_id) else found
    return found


async def state_at(settings: Settings, policy: Policy, key: bytes, at_ms: int) -> Entity | None:
    """An entity's state of what Kafka had of it at a time (append time, ms since the epoch); None for nothing."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    resolver, states = BatchResolver(policy, names.changes), dict[bytes, bytes]()
    async with aclosing(read_topic(settings.kafka, names.changes, key)) as batches:
        async for partition, records in batches:
            until_then = [record for record in records if record.timestamp <= at_ms]
            states.update(resolver.resolve_batch(partition, until_then, states).states)
    return decode_entity(states[key]) if key in states else None


async def note_of(settings: Settings, key: str, decision: Write) -> str | None:
    """The note of the command that a decision is."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    async with aclosing(read_topic(settings.kafka, names.commands, key.encode())) as batches:
        async for _, records in batches:
            for record in records:
                try:
                    command = decode_command(record.value or b"")
                except Refusal:
                    continue
                if command.command_id == decision_of(decision):
                    return command.note
    return None
