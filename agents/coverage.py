"""How far one partition of `records` is surely in the view: pure bookkeeping, without Kafka and Redis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Coverage:
    """What is known of one partition.

    saved: what Redis itself said last, None while that is in doubt. position: everything before it is in
    the view; from `saved` on only by `connection`, the Redis connection over which it was written.
    end: the partition's end, as far as known.
    """

    saved: int | None = None
    position: int = 0
    connection: int = 0
    end: int = 0
    _ahead: tuple[int, int] | None = None

    @property
    def behind(self) -> bool:
        """Whether there are records that only reading them from Kafka brings into the view."""
        return self.saved is not None and self.position < self.end

    @property
    def complete(self) -> bool:
        """Whether all that is known of the partition is in the view."""
        return self.saved is not None and self.position >= self.end

    def claim(self, first: int, next: int, connection: int) -> None:
        """Records `first` to `next` - 1 were written over a Redis connection and are in Kafka."""
        self.end = max(self.end, next)
        if self.saved is None or connection < self.connection:
            return
        if connection > self.connection:
            # The earlier connection is lost, and with it perhaps what was written but not yet saved.
            self.connection, self.position, self._ahead = connection, self.saved, None
        if first <= self.position:
            self._reach(next)
        elif self._ahead is not None and self._ahead[0] <= first <= self._ahead[1]:
            self._ahead = (self._ahead[0], max(self._ahead[1], next))
        else:
            # One run is remembered, the newest: an older one is read from Kafka, and so counts anyway.
            self._ahead = (first, next)

    def learned(self, stored: int, connection: int) -> None:
        """Redis holds everything before `stored`, as this new connection says; what was believed beyond is void.

        So is what was written over earlier connections and is claimed only now: Redis may have been emptied since.
        """
        self.saved = self.position = stored
        self.connection = connection
        self._ahead = None

    def flushed(self, sent: int, stored: int) -> None:
        """Redis was told that everything before `sent` is there, and holds `stored` now (below 0: nothing).

        Where it holds less it was emptied or is an older copy, and has to be asked over a new connection.
        """
        if stored < sent:
            self.doubt()
        else:
            self.saved = stored
            self._reach(stored)

    def doubt(self) -> None:
        """Nothing is sure until Redis was asked again."""
        self.saved = self._ahead = None

    def _reach(self, position: int) -> None:
        self.position = max(self.position, position)
        if self._ahead is not None and self._ahead[0] <= self.position:
            self.position = max(self.position, self._ahead[1])
            self._ahead = None
