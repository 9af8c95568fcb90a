"""When windows end: tumbling ones of equal length, or at times as cron has them. Pure: the time is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim


class Ends(Protocol):
    """Where one window ends and the next begins. Times in ms since the epoch."""

    def last(self, at_ms: int) -> int:
        """The newest end that is not after this time."""

    def following(self, at_ms: int) -> int:
        """The first end after this time."""


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows of one length, counted from 1970 in UTC."""

    length_ms: int

    def last(self, at_ms: int) -> int:
        return at_ms - at_ms % self.length_ms

    def following(self, at_ms: int) -> int:
        return self.last(at_ms) + self.length_ms


@dataclass(frozen=True, slots=True)
class AtTimes:
    """Windows that end when cron says so. zone: name of the time zone."""

    cron: str
    zone: str

    def last(self, at_ms: int) -> int:
        # In reverse cronsim gives what is before a time; the whole minute that has just come is to count.
        return self._tick(at_ms + 60_000, reverse=True, least=None, most=at_ms)

    def following(self, at_ms: int) -> int:
        return self._tick(at_ms, reverse=False, least=at_ms + 1, most=None)

    def _tick(self, from_ms: int, *, reverse: bool, least: int | None, most: int | None) -> int:
        begin = datetime.fromtimestamp(from_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))
        for tick in CronSim(self.cron, begin, reverse=reverse):
            tick_ms = int(tick.timestamp()) * 1000
            if (least is None or tick_ms >= least) and (most is None or tick_ms <= most):
                return tick_ms
        raise AssertionError("cron goes on for ever")


@dataclass(frozen=True, slots=True)
class Period:
    """A part of the day or week, from the ticks of one cron time to those of another."""

    begins: AtTimes
    ends: AtTimes

    def holds(self, at_ms: int) -> bool:
        """Whether this time is in it."""
        return self.begins.last(at_ms) > self.ends.last(at_ms)
