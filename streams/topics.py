"""The table of topics (SPEC section 5): names, keys, clean-up and the settings that we create and verify.

Every entity-keyed topic has the same number of partitions and the same partitioner (murmur2 over the
entity key), so all that concerns one entity meets in one partition number.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PREFIX = "syncline."
DEFAULT_PARTITIONS = 8

KEEP_FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
COMPACT = {"cleanup.policy": "compact"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table.

    name: without prefix. config: settings given at creation. verified: those of them that a running
    system relies on, so that a broker which holds something else is refused.
    """

    name: str
    config: dict[str, str]
    verified: tuple[str, ...]

    def full_name(self, prefix: str) -> str:
        return prefix + self.name


# LogAppendTime makes the append time "now" for the clock guard, whoever produced the record. Without
# retention.ms=-1 a record whose own time is old vanishes without an error.
CHANGES = Topic(
    "changes",
    {**KEEP_FOREVER, "message.timestamp.type": "LogAppendTime"},
    ("cleanup.policy", "message.timestamp.type", "retention.ms"),
)
CHANGELOG = Topic("entities-changelog", COMPACT, ("cleanup.policy",))
RECORDS = Topic("records", COMPACT, ("cleanup.policy",))
CONFLICTS = Topic("conflicts", KEEP_FOREVER, ("cleanup.policy",))
# Bytes as received may be as large as the broker let in; a dead letter adds headers to them.
DEAD_LETTERS = Topic("dead-letters", KEEP_FOREVER, ("cleanup.policy",))
COMMANDS = Topic("commands", KEEP_FOREVER, ("cleanup.policy",))

TOPICS = (CHANGES, CHANGELOG, RECORDS, CONFLICTS, DEAD_LETTERS, COMMANDS)
