"""The modes: which of the pending deliveries go now, as a function of what is pending and of recorded time.

`realtime` and `incremental` send at once, and coalesce what comes while a call is under way. `windowed_batch` sends an
entity with the window of its oldest undelivered change, and with its newest state. `manual` waits for a command.
Anything else is a strategy of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from schemas.delivery_document import DeliveryDocument, DeliveryRuleDocument, DuringDocument, ModeDocument
from streams.delivery import Delivery
from streams.pending import Pending
from streams.target_mapping import Condition
from streams.windows import AtTimes, Ends, Period, Tumbling

ASK_EVERY_MS = 100


class Moment(NamedTuple):
    """When something is decided. at_ms: recorded time; lag_ms: how long the oldest delivery that is due has waited."""

    at_ms: int
    lag_ms: int = 0


#: A user's own mode: of what waits, the keys that are to go now. It must be a pure function.
Strategy = Callable[[Sequence[Pending], Moment], Collection[str]]
#: Finds the strategy of a name, given its settings.
Strategies = Callable[[str, Mapping[str, Any]], Strategy]


@dataclass(slots=True)
class Waiting:
    """What waits in one mode, of one partition. decided_until_ms: before this recorded time, time changes nothing.

    trouble: why a strategy of the user's own has decided nothing.
    """

    items: dict[str, Pending] = field(default_factory=dict)
    size: int = 0
    decided_until_ms: int = 0
    trouble: str | None = None

    def put(self, item: Pending) -> None:
        """Add one."""
        self.items[item.key] = item
        self.size += item.size

    def pop(self, key: str) -> Pending:
        """Take one away."""
        item = self.items.pop(key)
        self.size -= item.size
        return item


class Mode(Protocol):
    """name: as in the file. incremental: only changed fields are delivered."""

    @property
    def name(self) -> str: ...
    @property
    def incremental(self) -> bool: ...

    def due(self, waiting: Waiting, moment: Moment) -> Collection[str]:
        """Keys of what goes now. Of what waits only `decided_until_ms` and `trouble` are changed."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """`realtime` and `incremental`."""

    name: str
    incremental: bool

    def due(self, waiting: Waiting, moment: Moment) -> Collection[str]:
        return list(waiting.items)


@dataclass(frozen=True, slots=True)
class Manual:
    """`manual`: nothing goes by itself."""

    name: str = "manual"
    incremental: bool = False

    def due(self, waiting: Waiting, moment: Moment) -> Collection[str]:
        return ()


@dataclass(frozen=True, slots=True)
class WindowedBatch:
    """`windowed_batch`. A change that comes when its window is closed waits for the end of the next one."""

    ends: Ends
    max_entities: int
    max_bytes: int
    name: str = "windowed_batch"
    incremental: bool = False

    def due(self, waiting: Waiting, moment: Moment) -> Collection[str]:
        keys: list[str] = []
        if moment.at_ms >= waiting.decided_until_ms:
            end = self.ends.last(moment.at_ms)
            keys = [key for key, item in waiting.items.items() if item.since_ms < end]
            waiting.decided_until_ms = self.ends.following(moment.at_ms)
        if len(waiting.items) - len(keys) >= self.max_entities or waiting.size >= self.max_bytes:
            return list(waiting.items)
        return keys


@dataclass(frozen=True, slots=True)
class OwnStrategy:
    """A user's own, asked ten times a second of recorded time at most. While it fails, what waits for it stays."""

    name: str
    strategy: Strategy
    incremental: bool = False

    def due(self, waiting: Waiting, moment: Moment) -> Collection[str]:
        if moment.at_ms < waiting.decided_until_ms:
            return ()
        waiting.decided_until_ms = moment.at_ms + ASK_EVERY_MS
        try:
            wanted = dict.fromkeys(self.strategy(list(waiting.items.values()), moment))
        except Exception as error:  # its text may quote values
            waiting.trouble = f"mode {self.name}: the strategy raised {type(error).__name__}"
            return ()
        waiting.trouble = None
        return [key for key in wanted if key in waiting.items]


@dataclass(frozen=True, slots=True)
class Rule:
    """A mode and when it holds. during, lag_over_ms: of the moment; entities, conditions: of the record."""

    mode: Mode
    during: Period | None = None
    lag_over_ms: int | None = None
    entities: frozenset[str] | None = None
    conditions: tuple[Condition, ...] = ()

    def holds(self, moment: Moment) -> bool:
        """Whether it can count at this moment."""
        if self.lag_over_ms is not None and moment.lag_ms <= self.lag_over_ms:
            return False
        return self.during is None or self.during.holds(moment.at_ms)

    def fits(self, delivery: Delivery) -> bool:
        """Whether it is for this record; of a deleted one only its type is known."""
        if self.entities is not None and delivery.entity_type not in self.entities:
            return False
        fields = delivery.fields
        return not self.conditions or (fields is not None and all(one.holds(fields) for one in self.conditions))


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is said of one target's modes: the first rule that holds and fits, else the mode of the target."""

    rules: tuple[Rule, ...]
    mode: Mode

    @classmethod
    def of(cls, said: DeliveryDocument, strategies: Strategies) -> Plan:
        """The plan of a file's section. Raises what `strategies` raises for a name that it does not know."""
        rules = (_rule(rule, said.timezone, strategies) for rule in said.rules.values())
        return cls(tuple(rules), _mode(said, said.timezone, strategies))

    @property
    def depends_on_time(self) -> bool:
        """Whether `active` differs from one moment to another."""
        return any(rule.during is not None or rule.lag_over_ms is not None for rule in self.rules)

    def active(self, moment: Moment) -> tuple[Rule, ...]:
        """The rules that can count at this moment, the last one for everything."""
        return (*(rule for rule in self.rules if rule.holds(moment)), Rule(self.mode))


def mode_of(active: Sequence[Rule], delivery: Delivery) -> Mode:
    """The mode of a record among the rules of a moment."""
    return next(rule.mode for rule in active if rule.fits(delivery))


def _rule(said: DeliveryRuleDocument, zone: str, strategies: Strategies) -> Rule:
    return Rule(
        _mode(said, zone, strategies),
        None if said.during is None else _period(said.during, zone),
        said.lag_over,
        None if said.entities is None else frozenset(said.entities),
        tuple(Condition.of(name, condition) for name, condition in said.where.items()),
    )


def _period(said: DuringDocument, zone: str) -> Period:
    return Period(AtTimes(said.begin, zone), AtTimes(said.to, zone))


def _mode(said: ModeDocument, zone: str, strategies: Strategies) -> Mode:
    match said.mode:
        case "realtime" | "incremental":
            return AtOnce(said.mode, said.mode == "incremental")
        case "manual":
            return Manual()
        case "windowed_batch":
            ends: Ends = Tumbling(said.window) if said.window is not None else AtTimes(str(said.at), zone)
            return WindowedBatch(ends, said.max_entities, said.max_bytes)
    return OwnStrategy(said.mode, strategies(said.mode, said.settings))
