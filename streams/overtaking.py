"""When trust in a winner will have fallen below a rival's, although no change arrives: it follows from the state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streams.entity import Write
from streams.merge import Judgement, choose, moment_of
from streams.policy import EntityPolicy, Rule


class Overtaking(NamedTuple):
    """The first moment at which one of the fields has another winner."""

    at_ms: int
    fields: list[str]


def next_overtaking(judgement: Judgement, policy: EntityPolicy) -> Overtaking | None:
    """The earliest of an entity; None: never, unless something changes."""
    found = list(_all(judgement, policy)) if judgement.existence.exists else []
    at_ms = min((one.at_ms for one in found), default=0)
    together = sorted({name for one in found if one.at_ms == at_ms for name in one.fields})
    return Overtaking(at_ms, together) if together else None


def weighs_trust(policy: EntityPolicy) -> bool:
    """Whether a field of an entity type may be overtaken."""
    return any(rule.resolver.trust is not None for rule in (policy.default, *policy.fields.values()))


def _all(judgement: Judgement, policy: EntityPolicy) -> Iterator[Overtaking]:
    contested = {name: verdict for name, verdict in judgement.fields.items() if verdict.contested}
    for name, verdict in contested.items():
        rule = policy.rule(name)
        if rule.resolver.trust is not None and rule.group is None:
            rivals = [write for write in verdict.live if write.value != verdict.made_by[0].value]
            yield from _first(rule, verdict.made_by[0], rivals, verdict.at_ms, [name])
    for rule, members in policy.groups.values():
        names = sorted(name for name in members if name in contested)
        if rule.resolver.trust is not None and names:
            verdicts = [contested[name] for name in names]
            live, at_ms = [write for verdict in verdicts for write in verdict.live], moment_of(verdicts)
            winner = choose(rule, live, at_ms).made_by[0]
            rivals = [write for write in live if write.dot.source != winner.dot.source]
            yield from _first(rule, winner, rivals, at_ms, names)
            for verdict in verdicts:
                if all(write.dot.source != winner.dot.source for write in verdict.live):
                    # The group's source has not written it: it has a winner of its own.
                    own = verdict.made_by[0]
                    yield from _first(rule, own, [w for w in verdict.live if w.value != own.value], at_ms, names)


def _first(rule: Rule, winner: Write, rivals: list[Write], at_ms: int, names: list[str]) -> Iterator[Overtaking]:
    trust = rule.resolver.trust
    assert trust is not None, "only trust decays"
    moments = [trust.overtaken_ms(winner, rival, rule.ranks, at_ms) for rival in rivals]
    known = [moment for moment in moments if moment is not None]
    if known:
        yield Overtaking(min(known), names)
