"""A broker as one process sees it: logs of partitions, committed offsets, and a group with its generations."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from agents.dead_letters import Row

CHANGES, CHANGELOG, RECORDS = "changes", "entities-changelog", "records"
CONFLICTS, DEAD_LETTERS = "conflicts", "dead-letters"


class Record(NamedTuple):
    """One stored record, shaped as aiokafka's ConsumerRecord. timestamp: ms, when it was appended."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Log:
    """One partition of one topic. end: the offset that the next record gets. epoch: the newest that wrote here."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.records: list[Record] = []
        self.end = 0
        self.epoch = 0

    def append(self, row: Row, now_ms: int) -> Record:
        """Stores a row at the end and returns it with its offset."""
        record = Record(self.topic, self.partition, self.end, now_ms, row.key, row.value, row.headers)
        self.records.append(record)
        self.end += 1
        return record

    def read(self, offset: int, count: int) -> list[Record]:
        """At most `count` records from an offset on, or from the next one that compaction left."""
        start = bisect_left(self.records, offset, key=lambda record: record.offset)
        return self.records[start : start + count]

    def compact(self, below: int) -> None:
        """Drops each record below an offset of which a later one below it has the key."""
        newest = {record.key: record.offset for record in self.records if record.offset < below}
        self.records = [r for r in self.records if r.offset >= below or newest[r.key] == r.offset]


class Broker:
    """Topics, committed offsets of `changes`, and the worker group.

    members: worker number -> its partitions in the current generation. joined: who waits for the next one.
    epochs: of each partition's transactional id, the newest that somebody took.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = range(partitions)
        self.logs = {
            (topic, partition): Log(topic, partition)
            for topic in (CHANGES, CHANGELOG, RECORDS, CONFLICTS, DEAD_LETTERS)
            for partition in self.partitions
        }
        self.committed: dict[int, int] = {}
        self.epochs: Counter[int] = Counter()
        self.generation = 0
        self.members: dict[int, list[int]] = {}
        self.rebalancing = False
        self.joined: set[int] = set()

    def log(self, topic: str, partition: int) -> Log:
        return self.logs[topic, partition]

    def is_member(self, worker: int, generation: int) -> bool:
        """Whether the group still counts the worker as of this generation."""
        return generation == self.generation and worker in self.members

    def claim(self, partition: int, marked: str) -> int:
        """The next epoch of a partition's transactional id, given to whoever asks; its mark is in topic `marked`."""
        self.epochs[partition] += 1
        self.log(marked, partition).epoch = self.epochs[partition]
        return self.epochs[partition]

    def commit(self, worker: int, generation: int, partition: int, offset: int) -> bool:
        """Stores a committed offset; refused for whoever is no member of the current generation."""
        if not self.is_member(worker, generation) or partition not in self.members[worker]:
            return False
        self.committed[partition] = offset
        return True

    def begin_generation(self, order: Sequence[int]) -> None:
        """The next generation, of those who joined; partitions are dealt out in this order of workers."""
        assigned: dict[int, list[int]] = defaultdict(list)
        for partition in self.partitions:
            assigned[order[partition % len(order)]].append(partition)
        self.members = {worker: assigned[worker] for worker in order}
        self.generation += 1
        self.joined, self.rebalancing = set(), False
