"""The table of topics (SPEC section 5): names, keys, clean-up and the settings that we create and verify.

`control` says what is to be different while workers run. Every other topic is keyed by entity and has the same number
of partitions and the same partitioner (murmur2 over the entity key), so all that concerns one entity meets in one
partition number.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PREFIX = "syncline."
DEFAULT_PARTITIONS = 8

MIB = 1024 * 1024
DAY_MS = 24 * 3600 * 1000
KEEP_FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
# A state has at most half a MiB; a record adds where its values come from, and a conflict its candidates.
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": str(4 * MIB)}


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table.

    name: without prefix. config: settings given at creation. verified: those of them that a running
    system relies on, so that a broker which holds something else is refused. partitions: None for as many as the
    deployment has, which is so for all that is keyed by entity.
    """

    name: str
    config: dict[str, str]
    verified: tuple[str, ...]
    partitions: int | None = None

    def full_name(self, prefix: str) -> str:
        return prefix + self.name


# LogAppendTime makes the append time "now" for the clock guard, whoever produced the record. Without
# retention.ms=-1 a record whose own time is old vanishes without an error. What is far too large is let in, so
# that it ends in dead letters, where it can be seen, and not in a producer's log.
CHANGES = Topic(
    "changes",
    {**KEEP_FOREVER, "message.timestamp.type": "LogAppendTime", "max.message.bytes": str(12 * MIB)},
    ("cleanup.policy", "message.timestamp.type", "retention.ms"),
)
CHANGELOG = Topic("entities-changelog", COMPACT, ("cleanup.policy",))
# A view that was away, or is brought back from an old copy, learns from a tombstone alone what was deleted. Kafka's
# day is soon over. (It adds this to a time of day, so it is a century and not the greatest number.)
RECORDS = Topic(
    "records", {**COMPACT, "delete.retention.ms": str(100 * 365 * DAY_MS)}, ("cleanup.policy", "delete.retention.ms")
)
CONFLICTS = Topic("conflicts", {**KEEP_FOREVER, "max.message.bytes": str(4 * MIB)}, ("cleanup.policy",))
# Bytes as received, with headers added to them.
DEAD_LETTERS = Topic("dead-letters", {**KEEP_FOREVER, "max.message.bytes": str(16 * MIB)}, ("cleanup.policy",))
# The append time is when a person decided.
COMMANDS = Topic("commands", {**KEEP_FOREVER, "message.timestamp.type": "LogAppendTime"}, ("cleanup.policy",))
# One partition, so that all workers read the same in the same order; key: a subject, the newest value counts.
CONTROL = Topic("control", COMPACT, ("cleanup.policy",), partitions=1)
# Of each target and entity what was acknowledged, where the committed offset does not say it; and its progress.
DELIVERIES = Topic("deliveries", COMPACT, ("cleanup.policy",))
# Of each target and entity the newest state that was put away; a null takes it back.
TARGET_DEAD_LETTERS = Topic("target-dead-letters", COMPACT, ("cleanup.policy",))

TOPICS = (CHANGES, CHANGELOG, RECORDS, CONFLICTS, DEAD_LETTERS, COMMANDS, CONTROL, DELIVERIES, TARGET_DEAD_LETTERS)
