"""Where reading a partition of `changes` may start, and what of it is lost.

Two places remember how far a partition was read: the group's committed offset, and the table, whose changelog says
with every batch which change it reflects last. The commit comes after the changelog, so it can never be ahead,
unless somebody moved it or the changelog lost its end. Then the table is right: what it does not reflect is read
again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: The changelog's key for a state of no entity, whose position is the last change that a partition's table reflects.
#: It is written where no entity's state says so: after changes that moved none. (An entity key has a colon.)
APPLIED_KEY: Final = b"applied"
#: The changelog's key for the policies under which a partition's entities may have been decided (streams/reresolution).
POLICY_KEY: Final = b"policy"


class Start(NamedTuple):
    """offset: the next to read. lost: changes before it, from .. to - 1, that nobody will ever read."""

    offset: int
    rewound: bool
    lost: tuple[int, int] | None


class TopicRecreated(ValueError):
    """The table reflects changes behind the end of the topic; the message says how to go on."""


def start_of(committed: int | None, applied: int, log_start: int, log_end: int) -> Start:
    """Decide for one partition.

    committed: the group's offset, None for none. applied: offset of the last change that the table reflects, -1 for
    none. log_start, log_end: the first offset there is, and the next there will be. Raises TopicRecreated.
    """
    if applied >= log_end:
        raise TopicRecreated(
            f"the table reflects changes up to offset {applied}, but the topic ends before offset {log_end}: it was"
            " deleted and made anew; give this deployment another topic_prefix and app_id, or delete its other topics"
        )
    if committed is None:
        # Nothing that the table reflects was confirmed to be on `records` too: all there is is read again.
        lost = (applied + 1, log_start) if 0 <= applied < log_start - 1 else None
        return Start(log_start, False, lost)
    wanted = min(committed, applied + 1)
    return Start(max(wanted, log_start), committed > applied + 1, (wanted, log_start) if wanted < log_start else None)
