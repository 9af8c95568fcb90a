"""Who wins (SPEC section 3). Everything that decides a winner is here and in `streams.resolvers`.

Nothing in this file knows which write came last, or from where it is looked at: a judgement is a function of the
state and of the policy alone. What the functions are given they do not change.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from streams.entity import TOMBSTONE, TOUCH, Absorbed, Entity, Write
from streams.order import buries, dominates, revives
from streams.policy import EntityPolicy, Rule
from streams.resolvers import last_update_wins, source_priority
from streams.resolvers.custom import failed
from streams.resolvers.decision import FAILED, NULL, OVERSOLD, Decision, picked
from streams.stewardship import has_steward, standing, standing_tombstones, standing_touches

EXISTENCE: Final = "*"


@mypyc_attr(acyclic=True)
class Verdict:
    """The judgement of one field.

    live: its live writes. contested: they disagree, and the resolver minds. value: canonical JSON text, None where
    the field is absent. made_by: the writes that make it so. note: as in Decision. at_ms: the moment for which trust
    was weighed, 0 where none was.
    """

    __slots__ = ("at_ms", "contested", "live", "made_by", "note", "value")

    def __init__(
        self,
        live: list[Write],
        contested: bool,
        value: str | None,
        made_by: list[Write],
        note: str = "",
        at_ms: int = 0,
    ) -> None:
        self.live: Final = live
        self.contested: Final = contested
        self.at_ms: Final = at_ms
        self.value = value
        self.made_by = made_by
        self.note = note

    def pending(self, rule: Rule) -> bool:
        """Its value is provisional: a person shall decide, or a function of the user's failed."""
        return self.contested and (rule.resolver.pends or self.note.startswith(FAILED))


@mypyc_attr(acyclic=True)
class Existence:
    """The judgement of field `*`. live: live touches and live tombstones. winner: None without a conflict."""

    __slots__ = ("contested", "exists", "live", "winner")

    def __init__(self, live: list[Write], exists: bool, winner: Write | None) -> None:
        self.live: Final = live
        self.exists: Final = exists
        self.winner: Final = winner
        self.contested: Final = winner is not None


@mypyc_attr(acyclic=True)
class Judgement:
    """All that follows from a state under a policy. fields: sorted by name."""

    __slots__ = ("existence", "fields")

    def __init__(self, existence: Existence, fields: dict[str, Verdict]) -> None:
        self.existence = existence
        self.fields = fields


@mypyc_attr(acyclic=True)
class Revision:
    """What one change did to a judgement: existence before it, and each field judged anew with its former verdict."""

    __slots__ = ("existence", "fields")

    def __init__(self, existence: Existence) -> None:
        self.existence: Final = existence
        self.fields: Final[list[tuple[str, Verdict | None, Verdict]]] = []


def judge(entity: Entity, policy: EntityPolicy) -> Judgement:
    """Judges a whole state."""
    judgement = Judgement(judge_existence(entity, policy), {})
    tombstones = standing_tombstones(entity)
    for name in sorted(entity.fields):
        judgement.fields[name] = judge_field(entity.fields[name], tombstones, policy.rule(name), policy)
    _judge_groups(judgement, policy)
    return judgement


def rejudge(judgement: Judgement, entity: Entity, policy: EntityPolicy, absorbed: Absorbed) -> Revision:
    """Brings a judgement up to date after one change was absorbed.

    A field's live writes follow from its own writes and the tombstones alone, so only what was written is judged
    again, and everything when a tombstone moved or a person decided about existence.
    """
    revision = Revision(judgement.existence)
    fields, tombstones = judgement.fields, standing_tombstones(entity)
    unsorted = False
    existence = judgement.existence
    if absorbed.buried or entity.tombstones or not existence.exists or existence.live is not entity.touches:
        judgement.existence = judge_existence(entity, policy)
    for name in list(entity.fields) if absorbed.buried else absorbed.written:
        verdict = judge_field(entity.fields[name], tombstones, policy.rule(name), policy)
        earlier = fields.get(name)
        revision.fields.append((name, earlier, verdict))
        fields[name] = verdict
        unsorted = unsorted or earlier is None
    if unsorted:
        # A field is new once and read with every record: its place is found now.
        judgement.fields = {name: fields[name] for name in sorted(fields)}
    if policy.groups:
        _judge_groups(judgement, policy)
    return revision


def judge_field(writes: list[Write], tombstones: list[Write], rule: Rule, policy: EntityPolicy) -> Verdict:
    """Judges one field: drops, keeps what is live, and lets the resolver decide where the live writes disagree."""
    resolver = rule.resolver
    at_ms = 0 if resolver.trust is None else _moment(writes)
    writes = standing(writes, [])
    if len(writes) == 1 and not tombstones and not resolver.always:
        return _won(writes[0], [writes[0]], False)
    if resolver.totals:
        writes = [write for write in writes if not write.dot.by_steward]
    rest = _not_dropped(writes, tombstones, resolver.time_counts, policy)
    if resolver.narrow is not None:
        rest = resolver.narrow(rest)
    live = _undominated(rest, resolver.time_counts, policy.window_ms)
    if not live:
        return Verdict(live, False, None, live)
    agreed = _agree(live)
    contested = resolver.contests and not agreed
    if len(live) == 1 and not resolver.always:
        return _won(live[0], live, False)
    if resolver.pick is not None:
        return _won(resolver.pick(live, rule.ranks), live, contested)
    if resolver.trust is not None:
        return _won(resolver.trust.pick(live, rule.ranks, at_ms), live, contested, at_ms)
    if agreed and not resolver.always:
        return _won(last_update_wins.pick(live, rule.ranks), live, False)
    assert resolver.decide is not None, f"resolver {resolver.name} must either pick or decide"
    decision = resolver.decide(live, rest, rule.ranks)
    contested = contested or (decision.note == OVERSOLD and not agreed)
    return Verdict(live, contested, decision.value, decision.made_by, decision.note)


def _won(write: Write, live: list[Write], contested: bool, at_ms: int = 0) -> Verdict:
    """The verdict for one write; its null means that the field is absent."""
    made_by = live if len(live) == 1 else [write]
    return Verdict(live, contested, None if write.value == NULL else write.value, made_by, "", at_ms)


def _moment(writes: list[Write]) -> int:
    """The latest moment of which a field's writes tell, those of the clock among them."""
    moment = writes[0].dot.occurred_at
    for write in writes:
        if write.dot.occurred_at > moment:
            moment = write.dot.occurred_at
    return moment


def judge_existence(entity: Entity, policy: EntityPolicy) -> Existence:
    """Judges whether the entity exists, and whether its writers disagree about that."""
    touches, tombstones = standing_touches(entity), standing_tombstones(entity)
    if not tombstones:
        return Existence(touches, bool(touches), None)
    live_touches = [touch for touch in touches if not _buried(touch, tombstones, policy)]
    live_tombstones = [tombstone for tombstone in tombstones if not _revived(tombstone, touches, policy)]
    on_delete = policy.on_delete
    if not live_touches and not live_tombstones:
        # A cycle: everything has been overruled by something. Only the clocks are left.
        live_touches, live_tombstones, on_delete = touches, tombstones, "last_update_wins"
    live = live_touches + live_tombstones
    if not live_touches or not live_tombstones:
        return Existence(live, bool(live_touches), None)
    exists = _survives(live, on_delete, policy)
    winners = live_touches if exists else live_tombstones
    pick = source_priority.pick if on_delete == "source_priority" else last_update_wins.pick
    return Existence(live, exists, pick(winners, policy.ranks))


def _buried(write: Write, tombstones: list[Write], policy: EntityPolicy) -> bool:
    for tombstone in tombstones:
        if buries(tombstone, write, policy.window_ms, policy.tombstone_by_time):
            return True
    return False


def _revived(tombstone: Write, touches: list[Write], policy: EntityPolicy) -> bool:
    for touch in touches:
        if revives(touch, tombstone, policy.window_ms, policy.touch_by_time):
            return True
    return False


def _survives(live: list[Write], on_delete: str, policy: EntityPolicy) -> bool:
    """Decides between live touches and live tombstones."""
    if on_delete == "update_wins":
        return True
    if on_delete == "delete_wins":
        return False
    rank = policy.ranks.of

    def latest(w: Write) -> tuple[int, int, str, int, bool]:
        return (w.dot.time, -rank(w.dot.source), w.dot.source, w.dot.version, w.value == TOMBSTONE)

    def strongest(w: Write) -> tuple[int, int, str, int, bool]:
        return (rank(w.dot.source), -w.dot.time, w.dot.source, -w.dot.version, w.value == TOUCH)

    winner = min(live, key=strongest) if on_delete == "source_priority" else max(live, key=latest)
    return winner.value == TOUCH


def _not_dropped(writes: list[Write], tombstones: list[Write], time_counts: bool, policy: EntityPolicy) -> list[Write]:
    """The rest: what neither a tombstone nor a person overruled, nor anything that was itself overruled so."""
    if not tombstones and not has_steward(writes):
        return writes
    window = policy.window_ms
    stewards = [write for write in writes if write.dot.by_steward]
    rest: list[Write] = []
    dropped: list[Write] = []
    for write in writes:
        if _buried(write, tombstones, policy) or _dominated(write, stewards, time_counts, window):
            dropped.append(write)
        else:
            rest.append(write)
    while dropped:
        overruled = dropped.pop()
        fallen = [write for write in rest if dominates(overruled, write, window, time_counts)]
        if fallen:
            rest = [write for write in rest if write not in fallen]
            dropped.extend(fallen)
    return rest


def _undominated(rest: list[Write], time_counts: bool, window_ms: int) -> list[Write]:
    """The live writes; where each is dominated by another (a cycle), all of them."""
    if _without_evidence(rest):
        # Only time is left to dominate by, and of all writes the latest dominates whatever any of them does.
        if not time_counts:
            return list(rest)
        oldest = _latest(rest) - window_ms
        return [write for write in rest if write.dot.time >= oldest]
    live = [write for write in rest if not _dominated(write, rest, time_counts, window_ms)]
    return live or list(rest)


def _latest(writes: list[Write]) -> int:
    latest = writes[0].dot.time
    for write in writes:
        if write.dot.time > latest:
            latest = write.dot.time
    return latest


def _without_evidence(writes: list[Write]) -> bool:
    for write in writes:
        if write.seen is not None or write.replaced is not None:
            return False
    return bool(writes)


def _dominated(write: Write, others: list[Write], time_counts: bool, window_ms: int) -> bool:
    for other in others:
        if other is not write and dominates(other, write, window_ms, time_counts):
            return True
    return False


def _agree(live: list[Write]) -> bool:
    first = live[0].value
    for write in live:
        if write.value != first:
            return False
    return True


def _judge_groups(judgement: Judgement, policy: EntityPolicy) -> None:
    """Lets one source win all contested fields of a group, so that parts of an address stay together."""
    for rule, members in policy.groups.values():
        contested = [
            judgement.fields[name] for name in members if name in judgement.fields and judgement.fields[name].contested
        ]
        if not contested:
            continue
        chosen = choose(rule, [write for verdict in contested for write in verdict.live], moment_of(contested))
        source = chosen.made_by[0].dot.source
        for verdict in contested:
            own = [write for write in verdict.live if write.dot.source == source]
            decision = picked(own[0]) if own else choose(rule, verdict.live, moment_of(contested))
            verdict.value, verdict.made_by = decision.value, decision.made_by
            verdict.note = decision.note or chosen.note


def moment_of(verdicts: list[Verdict]) -> int:
    """The moment for which trust is weighed in a group."""
    return max([verdict.at_ms for verdict in verdicts])


def choose(rule: Rule, live: list[Write], at_ms: int) -> Decision:
    """What the resolver of a group decides: always one write."""
    resolver = rule.resolver
    if resolver.pick is not None:
        return picked(resolver.pick(live, rule.ranks))
    if resolver.trust is not None:
        return picked(resolver.trust.pick(live, rule.ranks, at_ms))
    assert resolver.decide is not None, f"resolver {resolver.name} cannot decide a group"
    decision = resolver.decide(live, live, rule.ranks)
    return decision if len(decision.made_by) == 1 else failed(live, rule.ranks, "no write of the group was taken")
