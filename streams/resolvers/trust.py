"""`trust`: the write of the source that is trusted most by now; trust halves with age, at each source's own pace.

After `half_life` of a source its writes are worth half its score. The moment at which two writes are compared is no
clock's but the state's: the greatest occurred_at of the field's writes, those of the source `syncline:clock` among
them, which say nothing else. So a replay compares at the same moments.

All is computed in whole numbers: a score is a count of halvings below 1, in units of 2^-40, by the correctly rounded
logarithm of the General Decimal Arithmetic specification, alike on every machine; ages are subtracted exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from streams.entity import Write
from streams.resolvers.decision import Ranks

HALVING: Final = 1 << 40
_CONTEXT: Final = Context(prec=40)

Preference = tuple[int, Fraction, int, int, str]


class Trust:
    """scores: source -> above 0, at most 1; who is not listed is trusted less than all. half_lives_ms: none: for ever.

    A person is trusted more than all.
    """

    __slots__ = ("_half_lives_ms", "_levels")

    def __init__(self, scores: Mapping[str, float], half_lives_ms: Mapping[str, int]) -> None:
        self._levels: Final = {source: _level(score) for source, score in scores.items()}
        self._half_lives_ms: Final = dict(half_lives_ms)

    def pick(self, live: list[Write], ranks: Ranks, at_ms: int) -> Write:
        """The write that is trusted most at a moment; at a tie the latest."""
        return max(live, key=lambda write: self.preference(write, ranks, at_ms))

    def preference(self, write: Write, ranks: Ranks, at_ms: int) -> Preference:
        """What the greatest of is preferred. A snapshot is as old as its occurred_at says: its source stood by it."""
        dot = write.dot
        known = 2 if dot.by_steward else 1 if dot.source in self._levels else 0
        return (known, self._level_at(write, at_ms), dot.time, -ranks.of(dot.source), dot.source)

    def overtaken_ms(self, winner: Write, rival: Write, ranks: Ranks, at_ms: int) -> int | None:
        """The first moment after at_ms at which a rival is preferred to the winner of at_ms; None: never."""
        best, other = self.preference(winner, ranks, at_ms), self.preference(rival, ranks, at_ms)
        if best[0] != 1 or other[0] != 1:
            return None
        gains = self._decay(winner.dot.source) - self._decay(rival.dot.source)
        if gains <= 0:
            return None
        needed = (best[1] - other[1]) / gains
        after = -(-needed.numerator // needed.denominator) if other[2:] > best[2:] else needed.__floor__() + 1
        return at_ms + max(after, 1)

    def _level_at(self, write: Write, at_ms: int) -> Fraction:
        source = write.dot.source
        return self._levels.get(source, 0) - self._decay(source) * (at_ms - write.dot.occurred_at)

    def _decay(self, source: str) -> Fraction:
        """By how much its writes lose in a millisecond."""
        half_life = self._half_lives_ms.get(source, 0)
        return Fraction(HALVING, half_life) if half_life else Fraction(0)


def _level(score: float) -> int:
    halvings = _CONTEXT.divide(_CONTEXT.ln(Decimal(repr(score))), _CONTEXT.ln(Decimal(2)))
    return int(_CONTEXT.multiply(halvings, Decimal(HALVING)).to_integral_value())
