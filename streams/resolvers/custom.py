"""`custom`: a pure function of the user's that gets the live writes and returns one of them, or a value.

It gets them sorted by source, each time anew, so that neither the order of arrival nor what it does to them can matter.
Where it raises, takes too long or returns what is no value, the field is pending and serves what `last_update_wins`
would choose; nothing stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from schemas.canonical import canonical, parse
from schemas.live_write import LiveWrite
from schemas.refusal import DEFAULT_LIMITS
from schemas.strict_json import nesting
from streams.budget import TooLong, within_budget
from streams.entity import Write
from streams.resolvers import Resolver, last_update_wins
from streams.resolvers.decision import FAILED, NULL, Decision, Ranks, picked


class UserFunction(NamedTuple):
    """name: as the policy names it. code: a hash that is another when the code is another."""

    name: str
    function: Callable[[tuple[LiveWrite, ...]], Any]
    code: str


Functions = Callable[[str], UserFunction]
"""Finds a function by the name that the policy gives it. Raises LookupError with one line."""


def none(name: str) -> UserFunction:
    """Finds nothing: where no code of the user's may run."""
    raise LookupError(f"{name!r} cannot be loaded here")


def resolver(function: UserFunction, value_bytes: int = DEFAULT_LIMITS.value_bytes) -> Resolver:
    """The resolver that asks a function. value_bytes: of what it may return, as canonical JSON."""
    name = f"custom: {function.name}"
    return Resolver(name, decide=_Custom(function, value_bytes).decide, grouped=True, said=function.code)


def failed(live: list[Write], ranks: Ranks, why: str) -> Decision:
    """The provisional decision of a function that gave none."""
    provisional = picked(last_update_wins.pick(live, ranks))
    return Decision(provisional.value, provisional.made_by, FAILED + why)


class _Custom:
    __slots__ = ("_function", "_value_bytes")

    def __init__(self, function: UserFunction, value_bytes: int) -> None:
        self._function: Final = function.function
        self._value_bytes: Final = value_bytes

    def decide(self, live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
        """What the function says of the live writes."""
        writes = sorted(live, key=lambda write: (write.dot.source, write.dot.version, write.value))
        given = tuple([_told(write, ranks) for write in writes])
        try:
            answer = within_budget(self._function, given)
        except KeyboardInterrupt:
            raise
        except TooLong:
            return failed(live, ranks, "took too long")
        except BaseException as error:
            return failed(live, ranks, f"raised {type(error).__name__}")
        for write, shown in zip(writes, given, strict=True):
            if answer is shown:
                return picked(write)
        try:
            text = canonical(answer)
        except ValueError:
            return failed(live, ranks, "returned neither a write nor a value")
        if len(text.encode()) > self._value_bytes or nesting(text, DEFAULT_LIMITS.depth) > DEFAULT_LIMITS.depth:
            return failed(live, ranks, "returned too large a value")
        return Decision(None if text == NULL else text, writes)


def _told(write: Write, ranks: Ranks) -> LiveWrite:
    dot = write.dot
    return LiveWrite(
        value=parse(write.value),
        source=dot.source,
        version=dot.version,
        occurred_at=dot.occurred_at,
        op=dot.op,  # type: ignore[arg-type]
        event_id=dot.event_id,
        rank=ranks.of(dot.source),
        told=write.told,
        by_person=dot.by_steward,
    )
