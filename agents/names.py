"""Full names of the topics of one deployment."""

from __future__ import annotations

from dataclasses import dataclass

from streams import topics


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topics with their prefix."""

    changes: str
    changelog: str
    records: str
    conflicts: str
    dead_letters: str
    commands: str
    control: str
    deliveries: str
    target_dead_letters: str

    @classmethod
    def with_prefix(cls, prefix: str) -> TopicNames:
        """Names for a prefix such as `syncline.`"""
        return cls(
            changes=topics.CHANGES.full_name(prefix),
            changelog=topics.CHANGELOG.full_name(prefix),
            records=topics.RECORDS.full_name(prefix),
            conflicts=topics.CONFLICTS.full_name(prefix),
            dead_letters=topics.DEAD_LETTERS.full_name(prefix),
            commands=topics.COMMANDS.full_name(prefix),
            control=topics.CONTROL.full_name(prefix),
            deliveries=topics.DELIVERIES.full_name(prefix),
            target_dead_letters=topics.TARGET_DEAD_LETTERS.full_name(prefix),
        )
