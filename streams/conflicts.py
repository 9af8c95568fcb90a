"""Typed conflicts (SPEC section 4): found per change, as a function of the live sets before and after it.

The names of the kinds are those of PostgreSQL 18 and EDB Postgres Distributed. Whether a live set is a conflict,
and of what kind, does not depend on the order in which its writes arrived; which of several records with one id
was written last does.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from mypy_extensions import mypyc_attr

from schemas.canonical import canonical_string
from schemas.wire import WireChange
from streams.entity import TOMBSTONE, TOUCH, Entity, Write
from streams.merge import EXISTENCE, Existence, Judgement, Revision, Verdict
from streams.order import informed_revival
from streams.policy import EntityPolicy
from streams.resolvers import last_update_wins
from streams.stewardship import standing_tombstones, standing_touches


@mypyc_attr(acyclic=True)
class Conflict:
    """One conflict record. candidates: all live writes. winner: None where no single write is the value.

    left_out: how many records of the entity were left out before it, -1 if it is left out itself.
    """

    __slots__ = (
        "candidates",
        "change",
        "conflict_id",
        "field",
        "kind",
        "left_out",
        "outcome",
        "resolver",
        "value",
        "winner",
    )

    def __init__(
        self,
        field: str,
        kind: str,
        outcome: str,
        resolver: str,
        candidates: list[Write],
        winner: Write | None,
        value: str | None,
        change: WireChange,
        named_by: list[Write],
    ) -> None:
        self.conflict_id: Final = conflict_id(change.key, field, named_by)
        self.field: Final = field
        self.kind: Final = kind
        self.outcome: Final = outcome
        self.resolver: Final = resolver
        self.candidates: Final = candidates
        self.winner: Final = winner
        self.value: Final = value
        self.change: Final = change
        self.left_out = 0


def find(
    revision: Revision, judgement: Judgement, entity: Entity, change: WireChange, policy: EntityPolicy
) -> list[Conflict]:
    """The conflicts that one change brought or altered, existence first, then fields by name."""
    found: list[Conflict] = []
    before, after = revision.existence, judgement.existence
    if after.contested:
        if not _same_values(before.live, after.live):
            found.append(_about_existence(after, change, policy))
    elif _brought_back(before, after, entity, change):
        found.append(_bring_back(before, after, change, policy))
    contested: list[tuple[str, Verdict]] = []
    for name, earlier, verdict in revision.fields:
        if verdict.contested and (earlier is None or not _same_values(earlier.live, verdict.live)):
            contested.append((name, verdict))
    if len(contested) > 1:
        contested.sort(key=_name)
    for name, verdict in contested:
        found.append(_about_field(name, verdict, change, policy))
    return found


def standing_conflicts(key: str, judgement: Judgement, policy: EntityPolicy) -> list[Conflict]:
    """All conflicts of a state as it is judged, each as if its latest live write had come last; existence first."""
    found: list[Conflict] = []
    existence = judgement.existence
    if existence.contested:
        found.append(_about_existence(existence, _as_change(key, EXISTENCE, _latest(existence.live)), policy))
    for name, verdict in judgement.fields.items():
        if verdict.contested:
            found.append(_about_field(name, verdict, _as_change(key, name, _latest(verdict.live)), policy))
    return found


def _as_change(key: str, field: str, write: Write) -> WireChange:
    """The change that a write came with, as far as a conflict names it."""
    entity_type, _, entity_id = key.partition(":")
    dot = write.dot
    fields = {} if field == EXISTENCE else {field: write.value}
    return WireChange(
        *(key, entity_type, entity_id, dot.event_id, dot.op, dot.source, dot.version, dot.occurred_at),
        dot.seen,
        None,
        fields,
    )


def _name(contested: tuple[str, Verdict]) -> str:
    return contested[0]


def counted_as(conflict: Conflict) -> str:
    """The counter of a conflict: its kind, resolver, field, and the two sources whose values decide its kind, between
    tabs (those in names become spaces); people are one source. With `left out` at the end where it is not recorded."""
    live = conflict.candidates
    x = _latest(live)
    y = _latest([write for write in live if write.value != x.value])
    pair = sorted([_source_of(x), _source_of(y)])
    named = [conflict.resolver, conflict.field, pair[0] + " and " + pair[1]]
    parts = ["conflict:" + conflict.kind, *[name.replace("\t", " ") for name in named]]
    if conflict.left_out < 0:
        parts.append("left out")
    return "\t".join(parts)


def _source_of(write: Write) -> str:
    return "steward" if write.dot.by_steward else write.dot.source


def kind_of(live: list[Write], field: str, resolver: str, window_ms: int) -> str:
    """The kind of a conflict, by its two latest writes that differ."""
    if field == EXISTENCE:
        x = max(live, key=lambda write: (*_recency(write), write.dot.version, write.value == TOMBSTONE))
        return "delete_recently_updated" if x.value == TOMBSTONE else "update_recently_deleted"
    x = _latest(live)
    y = _latest([write for write in live if write.value != x.value])
    if x.dot.op == "create" and y.dot.op == "create":
        return "insert_exists"
    if x.told and y.told:
        return "update_differing"
    if x.dot.time - y.dot.time <= window_ms:
        return "ambiguous_order"
    return "update_differing" if resolver == "last_update_wins" else "update_origin_differs"


def conflict_id(key: str, field: str, writes: list[Write]) -> str:
    """Names a conflict by what is in it, so that every replay gives it the same name."""
    dots = sorted([(write.dot.source, write.dot.version) for write in writes])
    pairs = ",".join([f"[{canonical_string(source)},{version}]" for source, version in dots])
    text = f"[{canonical_string(key)},{canonical_string(field)},[{pairs}]]"
    return sha256(text.encode()).hexdigest()[:32]


def _recency(write: Write) -> tuple[int, str]:
    return (write.dot.time, write.dot.source)


def _latest(writes: list[Write]) -> Write:
    latest = writes[0]
    for write in writes:
        if write.dot.time > latest.dot.time or (
            write.dot.time == latest.dot.time and write.dot.source > latest.dot.source
        ):
            latest = write
    return latest


def _same_values(before: list[Write], after: list[Write]) -> bool:
    """Whether two live sets have the same [source, value]; a source is in each of them once at the most."""
    if len(before) != len(after):
        return False
    for write in after:
        for other in before:
            if other.dot.source == write.dot.source and other.value == write.value:
                break
        else:
            return False
    return True


def _outcome(pending: bool, winner: Write | None, change: WireChange, own_value: str | None) -> str:
    if pending:
        return "pending"
    if winner is None:
        return "merge"
    if winner.dot.by_steward:
        return "user"
    return "apply_remote" if _is_own(winner, change, own_value) else "keep_local"


def _is_own(write: Write, change: WireChange, own_value: str | None) -> bool:
    """The very write of this change, and not another one under the same dot."""
    dot = write.dot
    return (
        dot.source == change.source
        and dot.version == change.version
        and dot.occurred_at == change.occurred_at
        and dot.op == change.op
        and dot.event_id == change.event_id
        and write.value == own_value
    )


def _about_field(name: str, verdict: Verdict, change: WireChange, policy: EntityPolicy) -> Conflict:
    rule = policy.rule(name)
    made_by = verdict.made_by
    winner = made_by[0] if len(made_by) == 1 else None
    return Conflict(
        field=name,
        kind=kind_of(verdict.live, name, rule.resolver.name, policy.window_ms),
        outcome=_outcome(verdict.pending(rule), winner, change, change.fields.get(name)),
        resolver=rule.resolver.name,
        candidates=verdict.live,
        winner=winner,
        value=verdict.value,
        change=change,
        named_by=verdict.live,
    )


def _about_existence(existence: Existence, change: WireChange, policy: EntityPolicy) -> Conflict:
    tombstones = [write for write in existence.live if write.value == TOMBSTONE]
    return Conflict(
        field=EXISTENCE,
        kind=kind_of(existence.live, EXISTENCE, policy.on_delete, policy.window_ms),
        outcome=_outcome(False, existence.winner, change, TOMBSTONE if change.op == "delete" else TOUCH),
        resolver=policy.on_delete,
        candidates=existence.live,
        winner=existence.winner,
        value=TOUCH if existence.exists else TOMBSTONE,
        change=change,
        named_by=tombstones,
    )


def _brought_back(before: Existence, after: Existence, entity: Entity, change: WireChange) -> bool:
    """A deleted record that came back by time alone: nobody who revived it had read that it was deleted."""
    if change.op in ("delete", "snapshot") or before.exists or not after.exists:
        return False
    buried = [write for write in before.live if write.value == TOMBSTONE]
    touches, tombstones = standing_touches(entity), standing_tombstones(entity)
    if not buried or not all(any(old is write for write in tombstones) for old in buried):
        return False
    return not any(informed_revival(touch, tombstone) for touch in touches for tombstone in buried)


def _bring_back(before: Existence, after: Existence, change: WireChange, policy: EntityPolicy) -> Conflict:
    tombstones = [write for write in before.live if write.value == TOMBSTONE]
    return Conflict(
        field=EXISTENCE,
        kind="update_recently_deleted",
        outcome="apply_remote",
        resolver=policy.on_delete,
        candidates=after.live + tombstones,
        winner=last_update_wins.pick(after.live, policy.ranks),
        value=TOUCH,
        change=change,
        named_by=tombstones,
    )
