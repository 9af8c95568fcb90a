"""Redis as the view uses it: the rules of view_write.lua and view_advance.lua, restated without Lua.

A row is written unless what is held of its entity is newer: by the offset in `changes`, and where that is equal,
by the offset in `records`, if both are known. Progress only rises, and only from where the caller knew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agents.view import START
from streams.effects import ViewRow


class Away(Exception):
    """Redis does not answer, or not over the connection that was asked for."""


class Held(NamedTuple):
    """What Redis holds of one entity, a deleted one included. record: offset in `records`, -1 if not known."""

    row: ViewRow
    record: int


class SimulatedRedis:
    """One Redis. incarnation: counts its processes, so that a connection knows when it is broken."""

    def __init__(self, guard_compares: bool = True, progress_lies_beside: bool = True) -> None:
        self.guard_compares, self.progress_lies_beside = guard_compares, progress_lies_beside
        self.held: dict[bytes, Held] = {}
        self.progress: dict[int, int] = {}
        self.copy: tuple[dict[bytes, Held], dict[int, int]] = ({}, {})
        self.up = True
        self.incarnation = 1

    def write(self, rows: Sequence[ViewRow], record_offsets: Sequence[int] | None) -> int:
        """Writes what is not older than what is held; returns the number of rows that could not be judged."""
        unjudged = 0
        for place, row in enumerate(rows):
            record = -1 if record_offsets is None else record_offsets[place]
            held = self.held.get(row.key)
            if held is not None and self.guard_compares:
                if row.offset < held.row.offset:
                    continue
                if row.offset == held.row.offset:
                    if record < 0:
                        unjudged += 1
                        continue
                    if record < held.record:
                        continue
            self.held[row.key] = Held(row, record)
        return unjudged

    def advance(self, partition: int, first: int, following: int) -> int:
        """Moves progress to `following` if it has reached `first`; returns what is held now, START for nothing."""
        held = self.progress.get(partition, START)
        if first <= held < following:
            held = self.progress[partition] = following
        return held

    def save(self) -> None:
        """Takes the copy that `restart` may go back to."""
        self.copy = (dict(self.held), dict(self.progress))

    def restart(self, wiped: bool) -> None:
        """A new process, with nothing or with what was last saved."""
        held, progress = ({}, {}) if wiped else self.copy
        self._replace(held, progress)
        self.incarnation += 1
        self.up = True

    def wipe_in_place(self) -> None:
        """FLUSHALL: everything is gone, and no connection notices."""
        self._replace({}, {})

    def _replace(self, held: dict[bytes, Held], progress: dict[int, int]) -> None:
        self.held = dict(held)
        if self.progress_lies_beside:
            self.progress = dict(progress)


class Connection:
    """A worker's one connection. number: counts those made so far (agents/redis_connection.py)."""

    def __init__(self, redis: SimulatedRedis) -> None:
        self._redis = redis
        self._incarnation: int | None = None
        self.number = 0

    def open(self, on: int | None = None) -> SimulatedRedis:
        """Redis over this connection, made anew if need be. Raises Away. on: the only number that will do."""
        if not self._redis.up or self._incarnation not in (None, self._redis.incarnation):
            self.lose()
            raise Away
        if self._incarnation is None:
            self._incarnation = self._redis.incarnation
            self.number += 1
        if on is not None and on != self.number:
            raise Away
        return self._redis

    def lose(self) -> None:
        """The connection breaks; the next call makes another."""
        self._incarnation = None
