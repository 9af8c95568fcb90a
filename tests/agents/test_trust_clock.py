"""Time passes for trust: what is due is published, once it is due, and ends in the other winner."""

from __future__ import annotations

from typing import Any

from agents.trust_clock import due
from schemas.change import Change
from schemas.codec import encode_change
from streams.batch import BatchResolver
from streams.policy import parse_policy
from streams.rehearsal import Arrival

DAY_MS = 24 * 3600 * 1000
TRUST = {"resolver": "trust", "scores": {"crm": 0.8, "web": 0.4}, "half_life": {"crm": "1d"}}


def written(source: str, **fields: Any) -> Change:
    return Change(
        event_id=source,
        entity_type="customer",
        entity_id="1",
        op="update",
        seen=None,
        source=source,
        version=1,
        occurred_at=1_000,
        before=None,
        fields=fields,
    )


def passes(entity: dict[str, Any], *changes: Change) -> None:
    """The web, half as trusted as the crm, is trusted more a day later, and nothing is due after that."""
    policy = parse_policy({"entities": {"customer": entity}})
    resolver, states, docs = BatchResolver(policy, "changes"), dict[bytes, bytes](), []

    def resolve(*log: Change) -> None:
        now = len(docs)
        arrivals = [Arrival(now * 10 + n, 9 * DAY_MS, c.key.encode(), encode_change(c)) for n, c in enumerate(log)]
        effects = resolver.resolve_batch(0, arrivals, states)
        assert not effects.dead_letters
        states.update(effects.states)
        docs.append(effects.view[0].doc)

    resolve(*changes)
    turn = 1_000 + DAY_MS
    assert "crm" in docs[0] and "web" not in docs[0]
    first = list(due(list(states), states, policy, turn + 1))
    assert list(due(list(states), states, policy, turn - 1)) == []
    assert len(first) == 1 and first[0].source == "syncline:clock" and turn <= first[0].occurred_at <= turn + 1
    resolve(*first)
    assert "web" in docs[1] and "crm" not in docs[1]
    assert list(due(list(states), states, policy, 1_000 * DAY_MS)) == []


def test_a_field_turns_when_the_score_has_fallen_below_the_rivals() -> None:
    """A change of the clock names the field and the moment, and the field has the other value."""
    passes({"fields": {"phone": TRUST}}, written("crm", phone="crm"), written("web", phone="web"))


def test_a_group_turns_as_a_whole() -> None:
    """All contested fields of a group go to the source that is trusted more by then."""
    group = {"fields": ["street", "city"], **TRUST}
    changes = [written(source, street=f"{source} 1", city=source) for source in ("crm", "web")]
    passes({"field_groups": {"postal": group}}, *changes)
