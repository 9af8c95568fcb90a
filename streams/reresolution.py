"""What another policy makes of states that are there already: which are concerned, and what is decided otherwise.

A state is what was written, and no policy has a part in it. So it is enough to judge each state once more, and it does
not matter how often, in which order, or how far somebody came before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.canonical import canonical
from streams.conflicts import Conflict, standing_conflicts
from streams.entity import Entity
from streams.merge import Judgement, judge
from streams.policy import EntityPolicy, Policy, parse_policy

#: More policies at a time are not told apart: then any entity may be concerned.
MOST_FORMER = 8


@dataclass(frozen=True, slots=True)
class Deciders:
    """The policies under which what is known of a partition's entities may have been decided; None: any may.

    Before the first record under another policy is sent, that policy is added; when the last entity has been judged
    by it, it alone is left. What a process finds that starts in the middle is therefore never too little.
    """

    policies: tuple[Policy, ...] | None

    def adding(self, policy: Policy) -> Deciders:
        """With one more that decides from now on."""
        if self.policies is None or len(self.policies) >= MOST_FORMER:
            return Deciders(None)
        known = {known.version for known in self.policies}
        return self if policy.version in known else Deciders((*self.policies, policy))

    def only(self, policy: Policy) -> bool:
        """Whether nothing was decided under another one."""
        return self.policies is not None and {known.version for known in self.policies} == {policy.version}

    def of(self, entity_type: str, policy: Policy) -> list[EntityPolicy] | None:
        """Their rules of an entity type, less those that decide like the policy's; None: nobody knows."""
        if self.policies is None:
            return None
        rules = policy.of(entity_type)
        return [known.of(entity_type) for known in self.policies if not rules.decides_like(known.of(entity_type))]

    def text(self) -> bytes:
        """As canonical JSON."""
        said = None if self.policies is None else [[known.version, known.said] for known in self.policies]
        return canonical({"policies": said}).encode()


def read_deciders(text: bytes | None, read: Callable[[object], Policy] = parse_policy) -> Deciders:
    """What `text` gave. A policy that cannot be read by now, or whose resolvers have other code, is not known.

    read: makes a policy of its mapping; ValueError for one that is none.
    """
    try:
        said = None if text is None else json.loads(text)["policies"]
        if said is None:
            return Deciders(None)
        policies = [(version, read(document)) for version, document in said]
    except (ValueError, LookupError, TypeError):  # PolicyError is a ValueError
        return Deciders(None)
    if any(policy.version != version for version, policy in policies):
        return Deciders(None)
    return Deciders(tuple(policy for _, policy in policies))


def decided_otherwise(
    key: str, entity: Entity, judgement: Judgement, policy: EntityPolicy, former: Sequence[EntityPolicy] | None
) -> list[Conflict]:
    """The conflicts of a judged state that at least one of the former policies did not decide in this way.

    None: all conflicts. A conflict that is none any more leaves no record, as when a later write ends it.
    """
    found = standing_conflicts(key, judgement, policy)
    if former is None or not found:
        return found
    before = [{_decision(one) for one in standing_conflicts(key, judge(entity, rules), rules)} for rules in former]
    return [one for one in found if any(_decision(one) not in decisions for decisions in before)]


def _decision(conflict: Conflict) -> tuple[object, ...]:
    """All that a policy says of a conflict; its id has the field and the live writes."""
    winner = conflict.winner
    won = None if winner is None else (winner.dot.source, winner.dot.version)
    dots = tuple(sorted((write.dot.source, write.dot.version) for write in conflict.candidates))
    return conflict.conflict_id, conflict.kind, conflict.outcome, conflict.resolver, conflict.value, won, dots
