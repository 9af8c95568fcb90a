"""Why each value of an entity stands, in words (SPEC section 7, `explain`).

Who won is taken from the judgement of `streams.merge` and never decided here again: this file only finds which
of the rules applied, and says it.
"""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

from schemas.policy_document import OnDelete
from streams.entity import SNAPSHOT_SHIFT, TOMBSTONE, TOUCH, Entity, Write
from streams.merge import (
    EXISTENCE,
    Existence,
    Judgement,
    Verdict,
    choose,
    judge,
    judge_existence,
    judge_field,
    moment_of,
)
from streams.order import buries, dominates, informed_revival, revives, saw
from streams.policy import EntityPolicy, Rule
from streams.resolvers import RESOLVERS
from streams.resolvers.decision import NULL, Ranks
from streams.resolvers.size import magnitude, text_of
from streams.stewardship import pin_decides, pinned, standing, standing_tombstones, standing_touches

WINS, PART, AGREES, LOSES, OVERRULED, LEFT_OUT = "wins", "part", "agrees", "loses", "overruled", "left out"
WITHDRAWN = "withdrawn"
_STANDINGS: Final = (WINS, PART, AGREES, LOSES, OVERRULED, LEFT_OUT, WITHDRAWN)


class Account(NamedTuple):
    """One write and what became of it. standing: one of the constants above. because: a clause, or empty."""

    write: Write
    standing: str
    because: str


class Reason(NamedTuple):
    """Why a field has its value. value: canonical JSON text, None where the field is absent (for `*`: whether
    the entity exists). rule: the resolver's name, with its group. accounts: the winner first. pin: the write that
    holds the field. others: what each resolver (for `*`: each on_delete) would make of the same writes."""

    field: str
    value: str | None
    rule: str
    contested: bool
    pending: bool
    why: str
    accounts: list[Account]
    pin: Write | None
    others: dict[str, str | None]


def explain(entity: Entity, policy: EntityPolicy) -> list[Reason]:
    """The reasons of a whole state: existence (field `*`) first, then every field that was ever written, by name."""
    judgement = judge(entity, policy)
    reasons = [_about_existence(entity, judgement.existence, policy)]
    for name in sorted(entity.fields):
        reasons.append(_about_field(name, entity, judgement, policy))
    return reasons


def preference(resolver: str, winner: Write, loser: Write, ranks: Ranks) -> str:
    """What a resolver prefers the winner for, as a clause about both."""
    if winner.dot.by_steward and not loser.dot.by_steward:
        return "a person decided"
    if resolver in ("source_priority", "authority"):
        return _by_rank(winner, loser, ranks) or _by_time(winner, loser) or _by_name(winner, loser)
    if resolver.startswith("custom: "):
        return f"{resolver.removeprefix('custom: ')} decides so, or who wrote last where it fails"
    if resolver == "trust":
        return f"{winner.dot.source} is trusted more by then"
    if resolver in ("max", "min", "longest"):
        clause = _by_size(resolver, winner, loser)
        if clause:
            return clause
    return _by_time(winner, loser) or _by_rank(winner, loser, ranks) or _by_name(winner, loser)


def name_of(write: Write) -> str:
    """A write's dot as people read it: source@version."""
    return f"{write.dot.source}@{write.dot.version}"


def span(ms: int) -> str:
    """A length of time as people read it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= size:
            return f"{ms / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms} ms"


def _about_field(name: str, entity: Entity, judgement: Judgement, policy: EntityPolicy) -> Reason:
    rule, verdict = policy.rule(name), judgement.fields[name]
    accounts = [
        _account(write, name, entity, judgement, rule, policy)
        for write in entity.fields[name]
        if not write.dot.by_clock
    ]
    accounts.sort(key=lambda account: (_STANDINGS.index(account.standing), account.write.dot.source))
    return Reason(
        field=name,
        value=verdict.value if judgement.existence.exists else None,
        rule=rule.resolver.name if rule.group is None else f"{rule.resolver.name}, group {rule.group}",
        contested=verdict.contested,
        pending=verdict.pending(rule),
        why=_sentence(verdict, accounts, judgement.existence),
        accounts=accounts,
        pin=_pin(standing(entity.fields[name], [])),
        others={
            resolver.name: judge_field(
                entity.fields[name], standing_tombstones(entity), Rule(resolver, rule.ranks), policy
            ).value
            for resolver in {**RESOLVERS, rule.resolver.name: rule.resolver}.values()
        },
    )


def _pin(writes: list[Write]) -> Write | None:
    return next((write for write in writes if pinned(write)), None)


def _account(
    write: Write, name: str, entity: Entity, judgement: Judgement, rule: Rule, policy: EntityPolicy
) -> Account:
    verdict = judgement.fields[name]
    made_by = verdict.made_by
    if write not in standing(entity.fields[name], []):
        return Account(write, WITHDRAWN, "the decision was taken back")
    if write in made_by:
        return Account(write, WINS if len(made_by) == 1 else PART, "")
    if write in verdict.live:
        if len(made_by) != 1 or write.value == made_by[0].value:
            return Account(write, AGREES if write.value != NULL else LEFT_OUT, "")
        return Account(write, LOSES, _lost(write, made_by[0], rule, judgement, policy))
    resolver = rule.resolver
    if resolver.fits is not None and write.value != NULL and not resolver.fits(write.value):
        return Account(write, LEFT_OUT, f"its value is no {'number' if resolver.totals else 'state'}")
    overruled = _overruled(write, name, entity, rule, policy)
    return Account(write, OVERRULED if overruled else LEFT_OUT, overruled or f"{resolver.name} does not count it")


def _overruled(write: Write, name: str, entity: Entity, rule: Rule, policy: EntityPolicy) -> str:
    """What overruled a write that is not live; empty if nothing did."""
    for tombstone in standing_tombstones(entity):
        if buries(tombstone, write, policy.window_ms, policy.tombstone_by_time):
            return f"the delete {name_of(tombstone)} {_evidence(tombstone, write)}"
    for other in standing(entity.fields[name], []):
        if other is write or (other.dot.by_steward and rule.resolver.totals):
            continue
        if dominates(other, write, policy.window_ms, rule.resolver.time_counts):
            return f"{name_of(other)} {_evidence(other, write)}"
    return ""


def _lost(write: Write, winner: Write, rule: Rule, judgement: Judgement, policy: EntityPolicy) -> str:
    """Why a live write lost against the one that a resolver picked."""
    resolver, ranks = rule.resolver.name, rule.ranks
    if rule.group is not None:
        field, chosen = _group_choice(rule, judgement, policy)
        if chosen.dot.source == winner.dot.source:
            return f"group {rule.group} goes to {chosen.dot.source} as a whole, for its {field}"
    return f"{name_of(winner)} is preferred: {preference(resolver, winner, write, ranks)}"


def _group_choice(rule: Rule, judgement: Judgement, policy: EntityPolicy) -> tuple[str, Write]:
    """The field and the write by which a source won a whole group."""
    assert rule.group is not None
    members = [name for name in policy.groups[rule.group][1] if name in judgement.fields]
    contested = {name: judgement.fields[name] for name in members if judgement.fields[name].contested}
    live = [(name, write) for name, verdict in contested.items() for write in verdict.live]
    chosen = choose(rule, [write for _, write in live], moment_of(list(contested.values()))).made_by[0]
    return next((name, write) for name, write in live if write is chosen)


def _sentence(verdict: Verdict, accounts: list[Account], existence: Existence) -> str:
    winners = [account.write for account in accounts if account.standing in (WINS, PART)]
    accounts = [account for account in accounts if account.standing != WITHDRAWN]
    losers = [account for account in accounts if account.because]
    if not winners:
        return "absent: " + (f"overruled, since {losers[0].because}" if losers else "nobody has given it a value")
    names = " and ".join(name_of(write) for write in winners)
    if len(winners) > 1:
        said = f"made of {names}"
    elif not losers:
        said = f"{names} is the only write" if len(accounts) == 1 else f"all agree with {names}"
    else:
        lost = ", ".join(name_of(account.write) for account in losers)
        said = f"{names} stands over {lost}: {losers[0].because}"
    if verdict.value is None:
        said = f"absent, its value is null: {said}"
    return said if existence.exists else f"the entity is deleted; before that: {said}"


def _about_existence(entity: Entity, existence: Existence, policy: EntityPolicy) -> Reason:
    accounts = []
    for write in entity.touches + entity.tombstones:
        stands = (write.value != TOMBSTONE) == existence.exists
        if write not in standing_touches(entity) and write not in standing_tombstones(entity):
            accounts.append(Account(write, WITHDRAWN, "the decision was taken back"))
        elif write not in existence.live:
            accounts.append(Account(write, OVERRULED, _moved(write, entity, policy)))
        elif write is existence.winner or (existence.winner is None and stands):
            accounts.append(Account(write, WINS, ""))
        else:
            accounts.append(Account(write, AGREES if stands else LOSES, "" if stands else policy.on_delete))
    accounts.sort(key=lambda account: (_STANDINGS.index(account.standing), account.write.dot.source))
    return Reason(
        field=EXISTENCE,
        value="true" if existence.exists else "false",
        rule=policy.on_delete,
        contested=existence.contested,
        pending=False,
        why=_existence_sentence(entity, existence, policy, accounts),
        accounts=accounts,
        pin=_pin(standing_touches(entity) + standing_tombstones(entity)),
        others={
            on_delete: TOUCH if judge_existence(entity, policy.deciding(on_delete)).exists else TOMBSTONE
            for on_delete in get_args(OnDelete)
        },
    )


def _existence_sentence(entity: Entity, existence: Existence, policy: EntityPolicy, accounts: list[Account]) -> str:
    if existence.winner is not None:
        told = "an update and a delete did not know of each other"
        return f"{told}: {policy.on_delete} decides for {name_of(existence.winner)}"
    overruled = next((account for account in accounts if account.standing == OVERRULED), None)
    if all(account.standing == WITHDRAWN for account in accounts):
        return "nobody says that it exists"
    if overruled is None:
        return "it was written and never deleted" if existence.exists else "it was deleted and never written"
    return f"{'exists' if existence.exists else 'deleted'}: {overruled.because}"


def _moved(write: Write, entity: Entity, policy: EntityPolicy) -> str:
    """What overruled a touch or a tombstone that is not live."""
    window = policy.window_ms
    if write.value == TOMBSTONE:
        for touch in standing_touches(entity):
            if revives(touch, write, window, policy.touch_by_time):
                how = _evidence(touch, write) if informed_revival(touch, write) else _later(touch, write)
                return f"{name_of(touch)} {how}"
    for tombstone in standing_tombstones(entity):
        if buries(tombstone, write, window, policy.tombstone_by_time):
            return f"the delete {name_of(tombstone)} {_evidence(tombstone, write)}"
    return "it was overruled"


def _evidence(winner: Write, loser: Write) -> str:
    """What shows that the one that dominates knew the other, or that time decided."""
    if winner.dot.source == loser.dot.source:
        return f"is a later version of the same source than {name_of(loser)}"
    if pin_decides(winner, loser):
        return f"is pinned, whatever {loser.dot.source} writes"
    if not saw(winner, loser):
        return _later(winner, loser)
    if winner.seen is not None:
        return f"had read {name_of(loser)} (its seen covers that)"
    replaced = (winner.replaced or {}).get(loser.value_hash)
    if replaced is not None and replaced[1] >= loser.dot.time:
        return f"replaced that value of {name_of(loser)} (its before)"
    return f"has replaced so many values that {name_of(loser)} counts as one of them"


def _later(winner: Write, loser: Write) -> str:
    return f"knew nothing of {name_of(loser)} and is {_distance(winner, loser)}, beyond the convergence window"


def _distance(winner: Write, loser: Write) -> str:
    if winner.dot.time - loser.dot.time > SNAPSHOT_SHIFT // 2:
        return f"no snapshot as {name_of(loser)} is"
    return f"{span(winner.dot.time - loser.dot.time)} later"


def _by_time(winner: Write, loser: Write) -> str:
    apart = winner.dot.time - loser.dot.time
    if abs(apart) > SNAPSHOT_SHIFT // 2:
        return f"{loser.dot.source if apart > 0 else winner.dot.source} sent a snapshot, which counts as older"
    if apart == 0:
        return ""
    return f"{winner.dot.source} wrote {span(abs(apart))} {'later' if apart > 0 else 'earlier'}"


def _by_rank(winner: Write, loser: Write, ranks: Ranks) -> str:
    if ranks.of(winner.dot.source) == ranks.of(loser.dot.source):
        return ""
    return f"{winner.dot.source} ranks before {loser.dot.source}"


def _by_name(winner: Write, loser: Write) -> str:
    return f"all else being equal, the names of the sources {winner.dot.source} and {loser.dot.source} decide"


def _by_size(resolver: str, winner: Write, loser: Write) -> str:
    if loser.value == NULL:
        return f"{loser.dot.source} has no value"
    if resolver == "longest":
        lengths = len(text_of(winner)), len(text_of(loser))
        # Not how long: the value may be personal.
        return "" if lengths[0] == lengths[1] else "it is longer"
    word = "greater" if resolver == "max" else "less"
    return "" if magnitude(winner) == magnitude(loser) else f"its value is {word}"
