"""`sum`: each source publishes its own running total, and the golden value is their sum (a PN counter).

Shapiro et al., "A comprehensive study of convergent and commutative replicated data types", 2011, section 3.1.3:
here every source's newest total stands for its increments. A person cannot write a total.
"""

from __future__ import annotations

from fractions import Fraction

from schemas.canonical import canonical, parse
from streams.entity import Write
from streams.resolvers.decision import ABSENT, Decision, Ranks

LEAST_LONG, GREATEST_LONG = -(1 << 63), (1 << 63) - 1


def decide(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
    """The exact sum, rounded once at the end if a float is among them; absent beyond a double."""
    totals = [write for write in rest if is_number(write.value)]
    if not totals:
        return ABSENT
    numbers = [parse(write.value) for write in totals]
    if all(isinstance(number, int) for number in numbers):
        total = sum(numbers)
        if LEAST_LONG <= total <= GREATEST_LONG:
            return Decision(canonical(total), totals)
    try:
        # Fractions are exact, and one division at the end rounds correctly: no order of sources matters.
        rounded = float(sum((Fraction(number) for number in numbers), Fraction(0)))
    except OverflowError:
        return ABSENT
    return Decision(canonical(rounded), totals)


def is_number(value: str) -> bool:
    """Whether a canonical JSON text is a number."""
    return value[0] in "-0123456789"
