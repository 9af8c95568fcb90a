"""States that only move forward, stock with a floor, trust that decays: each against what it means."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.policy_document import PolicyError
from schemas.refusal import DEFAULT_LIMITS, Refusal
from schemas.rules import CLOCK, check_change
from streams.entity import Entity, absorb
from streams.merge import Verdict, judge
from streams.policy import EntityPolicy, parse_policy
from streams.resolvers.decision import OVERSOLD, Ranks
from streams.resolvers.trust import Trust
from tests.laws.histories import wire

ROW = ["new", "paid", "shipped", "delivered"]
GRAPH = {"new": ["paid", "cancelled"], "paid": ["shipped", "cancelled"], "shipped": ["delivered"]}


def rules(**field: Any) -> EntityPolicy:
    return parse_policy({"entities": {"customer": {"fields": {"f": field}}}}).of("customer")


def change(
    source: str, value: Any, at: int = 0, seen: dict[str, int] | None = None, version: int = 1
) -> dict[str, Any]:
    head = {"event_id": f"{source}-{version}", "entity_type": "customer", "entity_id": "1", "op": "update"}
    written = {"source": source, "version": version, "occurred_at": at, "seen": seen, "before": None}
    return {**head, **written, "fields": {"f": value}}


def judged(policy: EntityPolicy, *changes: dict[str, Any]) -> Verdict:
    entity = Entity()
    for one in changes:
        absorb(entity, wire(one))
    return judge(entity, policy).fields["f"]


def told(values: list[Any]) -> list[dict[str, Any]]:
    """Each value by a source of its own, whose writer had read all that came before it."""
    return [
        change(f"s{place}", value, at=-place, seen={f"s{earlier}": 1 for earlier in range(place)})
        for place, value in enumerate(values)
    ]


@given(st.lists(st.sampled_from([*ROW, "lost", None, 7]), min_size=1, max_size=5), st.booleans())
def test_in_a_row_of_states_the_furthest_stays(values: list[Any], informed: bool) -> None:
    """Neither time nor what a later writer had read moves the value back; what is no state does not count."""
    changes = told(values) if informed else [{**one, "seen": None} for one in told(values)]
    verdict = judged(rules(resolver="forward_only", states=ROW), *changes)
    states = [value for value in values if value in ROW]
    assert verdict.value == (canonical(max(states, key=ROW.index)) if states else None)
    assert not verdict.contested


@given(st.lists(st.sampled_from([*GRAPH, "cancelled", "delivered"]), min_size=1, max_size=5))
def test_states_that_exclude_each_other_are_a_conflict(values: list[str]) -> None:
    """Contested are states of which none comes after the other, and nothing else."""
    policy = rules(resolver="forward_only", transitions=GRAPH)
    verdict = judged(policy, *[{**one, "seen": None} for one in told(values)])
    forks = "cancelled" in values and bool({"shipped", "delivered"} & set(values))
    assert verdict.contested == forks
    if forks:
        assert {write.value for write in verdict.live} <= {'"cancelled"', '"shipped"', '"delivered"'}


@pytest.mark.parametrize("value", ["shipped", "paid"])
def test_a_source_takes_its_own_state_back(value: str) -> None:
    """A newer version replaces the older one of its source, as everywhere; this alone moves a state back."""
    policy = rules(resolver="forward_only", states=ROW)
    verdict = judged(policy, change("crm", "delivered"), change("crm", value, version=2), change("web", "new"))
    assert verdict.value == canonical(value)


@given(st.dictionaries(st.sampled_from(["shop", "web", "depot"]), st.integers(-5, 5), min_size=1), st.booleans())
def test_stock_is_a_sum_that_stops_at_its_floor(totals: dict[str, int], informed: bool) -> None:
    """What was oversold is noted; it is a conflict where totals that did not know of each other differ."""
    changes = told(list(totals.values()))
    verdict = judged(rules(resolver="stock"), *(changes if informed else [{**one, "seen": None} for one in changes]))
    total = sum(totals.values())
    assert verdict.value == canonical(max(0, total))
    assert (verdict.note == OVERSOLD) == (total < 0)
    assert verdict.contested == (total < 0 and not informed and len(set(totals.values())) > 1)


SCORES = {"crm": 0.9, "web": 0.5, "app": 0.25}
times = st.integers(0, 100_000)


@given(
    st.dictionaries(st.sampled_from([*SCORES, "other"]), times, min_size=1),
    st.dictionaries(st.sampled_from(sorted(SCORES)), st.integers(1_000, 50_000)),
    st.integers(100_000, 200_000),
)
def test_the_most_trusted_at_the_moment_wins(written: dict[str, int], half_life: dict[str, int], now: int) -> None:
    """The score halves with each half-life; the clock moves the moment, and nothing else does."""
    policy = rules(resolver="trust", scores=SCORES, half_life=half_life)
    changes = [change(source, source, at) for source, at in written.items()]
    verdict = judged(policy, *changes, change(CLOCK, None, now, version=now))

    def trust(source: str) -> float:
        life = half_life.get(source)
        return SCORES.get(source, 0) * (2.0 ** (-(now - written[source]) / life) if life else 1)

    ranked = sorted(written, key=trust)
    assume(len(ranked) < 2 or not math.isclose(trust(ranked[-1]), trust(ranked[-2]), rel_tol=1e-9))
    assert verdict.value == canonical(ranked[-1])
    assert verdict.at_ms == (now if len(written) > 1 else 0)


@given(times, times, st.integers(0, 50_000), st.integers(0, 50_000), times)
def test_the_moment_of_overtaking_is_the_first(web: int, crm: int, web_life: int, crm_life: int, later: int) -> None:
    """One millisecond before the rival is not preferred, from then on it is; and never where none is named."""
    trust, ranks = Trust(SCORES, {"web": web_life, "crm": crm_life}), Ranks(())
    entity = Entity()
    for one in (change("web", 1, web), change("crm", 2, crm)):
        absorb(entity, wire(one))
    live, at = entity.fields["f"], max(web, crm) + later
    winner = trust.pick(live, ranks, at)
    rival = next(write for write in live if write is not winner)
    moment = trust.overtaken_ms(winner, rival, ranks, at)
    if moment is None:
        assert trust.pick(live, ranks, at + 10**9) is winner
    else:
        assert moment > at
        assert trust.pick(live, ranks, moment - 1) is winner
        assert trust.pick(live, ranks, moment) is rival


def test_the_clock_says_nothing_but_the_time() -> None:
    """Its change makes no entity exist, gives no field a value, and stands in no clock."""
    entity = Entity()
    absorb(entity, wire(change(CLOCK, None, 5, version=5)))
    judgement = judge(entity, parse_policy(None).of("customer"))
    assert not judgement.existence.exists and judgement.fields["f"].value is None and entity.clock() == {}
    absorb(entity, wire(change("crm", "a")))
    assert judge(entity, parse_policy(None).of("customer")).fields["f"].value == '"a"'


@pytest.mark.parametrize("wrong", [{"op": "delete", "fields": {}}, {"fields": {"f": 1}}, {"fields": {}}, {"seen": {}}])
def test_the_clock_may_say_nothing_else(wrong: dict[str, Any]) -> None:
    """A value, a delete or evidence of the source syncline:clock is refused."""
    with pytest.raises(Refusal, match="says what time it is"):
        check_change(wire({**change(CLOCK, None, 5, version=5), **wrong}), DEFAULT_LIMITS)


WRONG = {
    "floor: 'sum' takes no floor; it belongs to resolver: stock": {"resolver": "sum", "floor": 1},
    "states: states is given and no resolver; it belongs to resolver: forward_only": {"states": ["a"]},
    "resolver: forward_only needs either states or transitions": {"resolver": "forward_only"},
    "resolver: 'a' comes after itself": {"resolver": "forward_only", "transitions": {"a": ["b"], "b": ["a"]}},
    "resolver: trust needs scores": {"resolver": "trust"},
    "scores.crm: 2 must be a number above 0": {"resolver": "trust", "scores": {"crm": 2}},
    "half_life: 'wep' has no score; did you mean 'web'": {
        "resolver": "trust",
        "scores": {"web": 1},
        "half_life": {"wep": "1d"},
    },
    "floor: 'x' must be a number": {"resolver": "stock", "floor": "x"},
    "unknown key 'flor'; did you mean 'floor'": {"resolver": "stock", "flor": 0},
    "custom: there is a resolver, too": {"resolver": "sum", "custom": "a:b"},
    "custom: 'a.b:c' cannot be loaded here": {"custom": "a.b:c"},
}


@pytest.mark.parametrize("message", WRONG)
def test_parameters_that_cannot_be_are_refused(message: str) -> None:
    """One line names the place, what is wrong and what would be right."""
    with pytest.raises(PolicyError) as refused:
        rules(**WRONG[message])
    assert message in str(refused.value)
    assert "entities.customer.fields.f" in str(refused.value)
