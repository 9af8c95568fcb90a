"""Normal forms of states and judgements, in which equal things are equal."""

from __future__ import annotations

from typing import Any

from schemas.canonical import canonical
from streams.entity import Entity, Write
from streams.golden import Golden, golden
from streams.merge import Judgement
from streams.policy import EntityPolicy


def portrait(entity: Entity) -> Any:
    """All that a state holds, but for the order in which it came."""
    return (
        sorted(_write(write) for write in entity.touches),
        sorted(_write(write) for write in entity.tombstones),
        sorted((name, sorted(_write(write) for write in writes)) for name, writes in entity.fields.items()),
    )


def _write(write: Write) -> Any:
    dot = write.dot
    stamp = (dot.source, dot.version, dot.occurred_at, dot.op, dot.event_id, canonical(dot.seen))
    # Which of the values on one side of null was replaced is not kept, only the side.
    return (stamp, write.value, write.before, canonical(write.seen), sorted((write.replaced or {}).items()))


def verdict(entity: Entity, judgement: Judgement, policy: EntityPolicy) -> Any:
    """What is served of an entity, with what made it."""
    record: Golden = golden(entity, judgement, policy)
    fields = {
        name: (
            verdict.value,
            sorted((w.dot.source, w.dot.version, w.dot.occurred_at, w.dot.event_id) for w in verdict.made_by),
        )
        for name, verdict in record.fields.items()
    }
    return (record.exists, fields, record.clock, record.contested, record.pending)
