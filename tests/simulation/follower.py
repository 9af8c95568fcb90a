"""The materializer of one worker (agents/materialize.py), around the real Coverage."""

from __future__ import annotations

from collections.abc import Iterable

from agents.coverage import Coverage
from agents.materialize import view_row
from agents.view import START
from tests.simulation.broker import RECORDS, Broker
from tests.simulation.redis_view import Away, Connection


class Follower:
    """Keeps the view equal to `records` for a worker's partitions; each method is one turn of a task."""

    def __init__(self, broker: Broker, connection: Connection) -> None:
        self._broker = broker
        self._connection = connection
        self._unclaimed: tuple[int, int, int, int] | None = None
        self.partitions: dict[int, Coverage] = {}

    def assigned(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.partitions.setdefault(partition, Coverage())

    def revoked(self) -> None:
        self.partitions.clear()

    def delivered(self, partition: int, first: int, following: int, connection: int) -> None:
        """What the hand-over wrote is in Kafka as these records."""
        coverage = self.partitions.get(partition)
        if coverage is not None:
            coverage.claim(first, following, connection)

    def keep(self) -> None:
        """One turn of `_keep`: learn, flush, check; any trouble puts all partitions in doubt."""
        try:
            self._learn()
            self._flush()
            self._check()
        except Away:
            for coverage in self.partitions.values():
                coverage.doubt()

    def _learn(self) -> None:
        unsure = {p: c for p, c in self.partitions.items() if c.saved is None}
        if unsure:
            self._connection.lose()
        for partition, coverage in unsure.items():
            redis = self._connection.open()
            if partition in redis.progress:
                coverage.learned(redis.progress[partition], self._connection.number)
            else:
                redis.advance(partition, START, 0)

    def _flush(self) -> None:
        for partition, coverage in self.partitions.items():
            sent = coverage.position
            if coverage.saved is not None and sent > coverage.saved:
                redis = self._connection.open(on=coverage.connection)
                stored = redis.advance(partition, coverage.saved, sent)
                coverage.flushed(sent, stored)

    def _check(self) -> None:
        held = self._connection.open().progress
        for partition, coverage in self.partitions.items():
            if coverage.saved is not None and held.get(partition, START) < coverage.saved:
                coverage.doubt()

    def follow(self, partition: int, count: int) -> None:
        """One turn of `_follow`: claim what the last turn wrote, see the end, write the next records."""
        self._claim()
        coverage = self.partitions.get(partition)
        if coverage is None:
            return
        log = self._broker.log(RECORDS, partition)
        coverage.end = max(coverage.end, log.end)
        if not coverage.behind:
            return
        first = coverage.position
        records = log.read(first, count)
        reached = records[-1].offset + 1 if records else log.end
        number = self._connection.number
        if records:
            try:
                redis = self._connection.open()
            except Away:
                return
            number = self._connection.number
            redis.write([view_row(record) for record in records], [record.offset for record in records])
        self._unclaimed = (partition, first, reached, number)

    def _claim(self) -> None:
        # A turn of its own: `_keep` may run between Redis's answer and the claim.
        if self._unclaimed is not None:
            self.delivered(*self._unclaimed)
            self._unclaimed = None
