"""What people decide: a command and the state it is about in, the steward's change out (SPEC section 3).

A decision is an ordinary change of source `steward:<name>`. Its `seen` is the clock of the field that was decided (of
the entity, for `*`), so it overrules what was there and nothing that comes later. Its event_id says what it is:
`resolve/<conflict id>/<command id>`, `pin/<until, ms>/<command id>`, `release/` or `undo/<what ends>/<command id>`.

A release and an undo come with a version below that of the steward's own write, if there is one: the write stays as it
is, and only what is known of it grows (see `streams.stewardship`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from schemas.canonical import canonical, parse
from schemas.change import Change
from schemas.codec import encode_change
from schemas.command import Command
from schemas.refusal import Refusal
from schemas.wire import WireChange
from streams.batch import BatchResolver
from streams.causality import Clock, covers
from streams.conflicts import conflict_id
from streams.entity import STEWARD_PREFIX, TOMBSTONE, Entity, Write, absorb
from streams.entity_codec import decode_entity, encode_entity
from streams.explain import name_of
from streams.hybrid_version import next_version
from streams.merge import EXISTENCE, Judgement, judge
from streams.policy import EntityPolicy, Policy
from streams.rehearsal import Arrival
from streams.stewardship import PINNED, RELEASED, decision_of, pinned, standing, withdrawal_of

#: What the command that ends a pin in its time is called: this, and the command id of the pin.
EXPIRY: Final = "expiry-"


class Ground(NamedTuple):
    """What a command decides on. writes: all of the field, or all touches and tombstones; live: those that count."""

    command: Command
    entity: Entity
    policy: EntityPolicy
    judgement: Judgement
    field: str
    source: str
    writes: list[Write]
    live: list[Write]
    at_ms: int


def decide(
    command: Command, state: bytes | None, unabsorbed: Sequence[WireChange], policy: Policy, at_ms: int
) -> Change | None:
    """The change by which a person's command is carried out; None where that was done before.

    state: as stored. unabsorbed: decisions that are published and not in it yet. at_ms: when the command was given.
    Raises Refusal: superseded where the person decided on something else, bad_command, or the reason for which the
    change would be refused.
    """
    ground = _ground(command, state, unabsorbed, policy, at_ms)
    if any(decision_of(write) == command.command_id for write in ground.writes):
        return None
    change: Change | None
    match command.kind:
        case "resolve":
            change = _resolve(ground)
        case "pin":
            change = _pin(ground)
        case "release":
            change = _release(ground)
        case "undo":
            change = _undo(ground)
        case _:
            raise Refusal("bad_command", f"{command.kind} decides nothing", "check")
    if change is not None:
        _rehearse(change, ground, policy)
    return change


def conflict_of_field(key: str, field: str, live: list[Write]) -> str:
    """The id of the conflict among live writes: of `*`, its tombstones name it (SPEC section 4)."""
    return conflict_id(
        key, field, [write for write in live if write.value == TOMBSTONE] if field == EXISTENCE else live
    )


def _ground(
    command: Command, state: bytes | None, unabsorbed: Sequence[WireChange], policy: Policy, at_ms: int
) -> Ground:
    entity = Entity() if state is None else decode_entity(state)
    for change in unabsorbed:
        absorb(entity, change)
    if not (entity.touches or entity.tombstones or entity.fields):
        raise Refusal("bad_command", f"{command.kind}: this entity has never been written", "resolve")
    rules = policy.of(command.entity_type)
    judgement = judge(entity, rules)
    field = command.field or ""
    if field == EXISTENCE:
        writes, live = entity.touches + entity.tombstones, judgement.existence.live
    else:
        writes = entity.fields.get(field, [])
        live = judgement.fields[field].live if field in judgement.fields else []
    source = STEWARD_PREFIX + command.requested_by
    return Ground(command, entity, rules, judgement, field, source, writes, live, at_ms)


def _resolve(ground: Ground) -> Change:
    field, command = ground.field, ground.command
    _refuse_totals(ground)
    _refuse_misfit(ground)
    verdict = ground.judgement.existence if field == EXISTENCE else ground.judgement.fields.get(field)
    if verdict is None or not verdict.contested:
        stands = ", ".join(name_of(write) for write in ground.live) or "nothing"
        raise Refusal("superseded", f"{field} is in no conflict any more: {stands} stands", "resolve")
    open_now = conflict_of_field(command.key, field, ground.live)
    if open_now != command.conflict_id:
        among = ", ".join(sorted(name_of(write) for write in ground.live))
        raise Refusal("superseded", f"{field} is in another conflict by now: {open_now}, among {among}", "resolve")
    _refuse_unread(ground)
    return _written(ground, f"resolve/{open_now}", command.value, _clock(ground))


def _pin(ground: Ground) -> Change:
    field, command = ground.field, ground.command
    _refuse_totals(ground)
    _refuse_misfit(ground)
    if field != EXISTENCE and not ground.judgement.existence.exists:
        raise Refusal("bad_command", "pin: the entity is deleted; pin * to true to have it back", "resolve")
    if command.until is None or command.until <= ground.at_ms:
        raise Refusal(
            "bad_command", f"pin: it would have ended before {ground.at_ms}, when it was asked for", "resolve"
        )
    for write in standing(ground.writes, []):
        if pinned(write) and write.dot.source != ground.source:
            raise Refusal("bad_command", f"{field} is pinned by {name_of(write)}; undo that, or release it", "resolve")
    _refuse_unread(ground)
    version = _next_version(ground)
    return _written(ground, f"pin/{command.until}", command.value, {**_clock(ground), PINNED: version}, version)


def _release(ground: Ground) -> Change | None:
    command = ground.command
    own = next((w for w in standing(ground.writes, []) if w.dot.source == ground.source and pinned(w)), None)
    if own is None or (command.decision is not None and decision_of(own) != command.decision):
        if command.command_id == f"{EXPIRY}{command.decision}":
            return None
        raise Refusal("superseded", f"{ground.source} pins nothing in {ground.field}, or pinned it anew", "resolve")
    ended = decision_of(own) or name_of(own)
    return _beneath(ground, own, f"release/{ended}", {RELEASED: own.dot.version})


def _undo(ground: Ground) -> Change:
    field, command = ground.field, ground.command
    wanted = [write for write in standing(ground.writes, []) if decision_of(write) == command.decision]
    if not wanted:
        what = f"no decision {command.decision} about {field} stands; it was overtaken, or taken back"
        raise Refusal("superseded", what, "resolve")
    withdrawal = {withdrawal_of(wanted[0].dot.source): wanted[0].dot.version}
    told = f"undo/{command.decision}"
    own = max((w for w in ground.writes if w.dot.source == ground.source), key=lambda w: w.dot.version, default=None)
    if own is not None and own.dot.version > 1:
        return _beneath(ground, own, told, withdrawal)
    version = _next_version(ground)
    # A write of its own, which says nothing and so withdraws itself.
    value = True if field == EXISTENCE else None
    return _written(ground, told, value, {**withdrawal, withdrawal_of(ground.source): version}, version)


def _refuse_totals(ground: Ground) -> None:
    if ground.field != EXISTENCE and ground.policy.rule(ground.field).resolver.totals:
        raise Refusal("bad_command", f"{ground.field} is made of totals; a total is corrected by its source", "resolve")


def pins_of(entity: Entity, field: str) -> set[str]:
    """Command ids of the pins of a field, or of existence, that are not released."""
    writes = entity.touches + entity.tombstones if field == EXISTENCE else entity.fields.get(field, [])
    return {decision_of(write) or "" for write in standing(writes, []) if pinned(write)}


def _refuse_misfit(ground: Ground) -> None:
    """Refuse a value that the field's resolver would not count, so that the field would have none."""
    if ground.field == EXISTENCE or ground.command.value is None:
        return
    fits, value = ground.policy.rule(ground.field).resolver.fits, canonical(ground.command.value)
    if fits is not None and not fits(value):
        raise Refusal("bad_command", f"{ground.field}: the value is none of the field's states", "resolve")


def _refuse_unread(ground: Ground) -> None:
    """Refuse a decision on what the person had not seen."""
    seen = ground.command.seen
    if seen is None:
        return
    unread = [name_of(w) for w in ground.live if not covers(seen, w.dot.source, w.dot.version)]
    if unread:
        what = f"{ground.field} was written since it was looked at, by {', '.join(unread)}"
        raise Refusal("superseded", what, "resolve")


def _clock(ground: Ground) -> Clock:
    """What was decided on: the newest version of each source in the field, or in the entity for `*`."""
    if ground.field == EXISTENCE:
        return ground.entity.clock()
    return {write.dot.source: write.dot.version for write in ground.writes if not write.dot.by_clock}


def _next_version(ground: Ground) -> int:
    return next_version(ground.entity.clock().get(ground.source, 0), ground.at_ms)


def _written(ground: Ground, told: str, value: Any, seen: Clock, version: int | None = None) -> Change:
    """A new write of the steward."""
    deletes = ground.field == EXISTENCE and value is False
    fields = {} if ground.field == EXISTENCE else {ground.field: value}
    version = _next_version(ground) if version is None else version
    return _change(ground, told, version, ground.at_ms, "delete" if deletes else "update", seen, fields)


def _beneath(ground: Ground, own: Write, told: str, seen: Clock) -> Change:
    """The steward's own write again, below its version: it stays, and `seen` is joined to what is known of it."""
    op = "delete" if ground.field == EXISTENCE and own.value == TOMBSTONE else "update"
    fields = {} if ground.field == EXISTENCE else {ground.field: parse(own.value)}
    return _change(ground, told, own.dot.version - 1, own.dot.occurred_at, op, seen, fields)


def _change(
    ground: Ground, told: str, version: int, occurred_at: int, op: str, seen: Clock, fields: dict[str, Any]
) -> Change:
    command = ground.command
    whole = {
        "event_id": f"{told}/{command.command_id}",
        "entity_type": command.entity_type,
        "entity_id": command.entity_id,
        "op": op,
        "source": ground.source,
        "seen": seen,
        "fields": fields,
    }
    return Change.fill(whole, version, occurred_at)


def _rehearse(change: Change, ground: Ground, policy: Policy) -> None:
    """Resolve the change as it will be: what would be refused then is refused now."""
    record = Arrival(ground.entity.offset + 1, ground.at_ms, change.key.encode(), encode_change(change, policy.limits))
    effects = BatchResolver(policy, "").resolve_batch(0, [record], {record.key: encode_entity(ground.entity, 0)})
    for letter in effects.dead_letters:
        raise Refusal(letter.reason, letter.message, "resolve")
