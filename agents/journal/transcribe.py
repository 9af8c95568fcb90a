"""What makes rows of the records of each topic that the change log follows."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import ConsumerRecord

from agents.names import TopicNames
from streams.journal import JournalRow, change_row, conflict_row
from streams.policy import Policy

Transcribe = Callable[[int, ConsumerRecord], JournalRow]
"""From a partition and a record of it to its row; it must not raise."""


def transcriptions(names: TopicNames, policy: Callable[[], Policy], key: bytes | None) -> dict[str, Transcribe]:
    """By a topic's full name. policy: the one of now. key: as `streams.masking.masked` takes it."""

    def change(partition: int, record: ConsumerRecord) -> JournalRow:
        return change_row(names.changes, partition, record, policy(), key)

    def conflict(partition: int, record: ConsumerRecord) -> JournalRow:
        return conflict_row(names.conflicts, partition, record, policy(), key)

    return {names.changes: change, names.conflicts: conflict}
