"""The merge rules of SPEC sections 1 to 4 restated plainly, from the whole history of an entity.

Nothing here is incremental: a golden record is computed once from the multiset of an entity's changes,
and a conflict by comparing the state of history[:i] with that of history[:i + 1]. It is slow on purpose and
shares no code with the engine, so that the engine can be tested against it. Inside, a value is its canonical
JSON text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

EXISTENCE = "*"
ABSENT = "null"
REPLACED_KEPT = 64
CLOCK = "syncline:clock"
NEVER_CONTESTED = ("union", "sum", "stock")
TOTALS = ("sum", "stock")
PICKS_BY_LAST_UPDATE = ("last_update_wins", "manual", "forward_only")
UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


# ---- SPEC 1: canonical JSON ----------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Canonical JSON of a value; ValueError for what SPEC section 5 calls `bad_value`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return canonical_int(value)
    if isinstance(value, float):
        return canonical_float(value)
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate fails here, with a ValueError
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    raise ValueError(f"{type(value).__name__} is no JSON value")


def canonical_int(value: int) -> str:
    if not -(2**63) <= value < 2**63:
        raise ValueError("integer beyond 64 bits")
    return str(value)


def canonical_float(value: float) -> str:
    """As ECMAScript's Number::toString prints it, with `.0` where that has neither point nor exponent."""
    if not math.isfinite(value):
        raise ValueError("NaN or infinity")
    if value == 0:
        return "0.0"
    sign = "-" if value < 0 else ""
    _, digit_tuple, exponent = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, digit_tuple)).lstrip("0")
    point = len(digits) + int(exponent)  # the value is 0.DIGITS * 10 ** point
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0") + ".0"
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    mantissa = digits if len(digits) == 1 else digits[0] + "." + digits[1:]
    return f"{sign}{mantissa}e{point - 1:+d}"


def parse(text: str) -> Any:
    return json.loads(text)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---- SPEC 3: the policy --------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """How one field (or `*`) is decided: resolver and the sources it ranks, strongest first."""

    resolver: str
    order: tuple[str, ...]
    parameters: dict[str, Any] = field(default_factory=dict, compare=False)

    def rank(self, source: str) -> int:
        if is_steward(source):
            return -1
        return self.order.index(source) if source in self.order else len(self.order)


@dataclass(frozen=True)
class Rules:
    """The policy as it applies to one entity type."""

    default: Rule
    fields: dict[str, Rule]
    groups: tuple[tuple[Rule, tuple[str, ...]], ...]
    existence: Rule
    window_ms: int

    def of(self, name: str) -> Rule:
        return self.fields.get(name, self.default)


def rules_of(policy: dict[str, Any] | None, entity_type: str) -> Rules:
    policy = policy or {}
    entity = (policy.get("entities") or {}).get(entity_type) or {}
    priority = tuple(policy.get("priority") or ())
    resolver = entity.get("resolver") or policy.get("resolver") or "last_update_wins"

    def rule(entry: dict[str, Any]) -> Rule:
        says = entry if entry.get("resolver") else entity
        return Rule(entry.get("resolver") or resolver, tuple(entry.get("order") or priority), says)

    fields = {name: rule(entry or {}) for name, entry in (entity.get("fields") or {}).items()}
    groups = []
    for entry in (entity.get("field_groups") or {}).values():
        group = {"fields": entry} if isinstance(entry, list) else entry
        groups.append((rule(group), tuple(group["fields"])))
        fields.update({member: rule(group) for member in group["fields"]})
    existence = Rule(entity.get("on_delete") or "update_wins", priority)
    window_ms = duration_ms(policy.get("convergence_window", "1s"))
    return Rules(rule({}), fields, tuple(groups), existence, window_ms)


def duration_ms(duration: int | str) -> int:
    if isinstance(duration, int):
        return duration
    number = duration.rstrip("dhms")
    return int(Fraction(number) * UNIT_MS[duration[len(number) :].strip()])


def is_steward(source: str) -> bool:
    return source.startswith("steward:")


# ---- SPEC 3: writes, touches and tombstones ------------------------------------------------------


@dataclass(frozen=True)
class Write:
    """What one change says about one field; a touch says true about `*`, a tombstone false."""

    source: str
    version: int
    occurred_at: int
    op: str
    event_id: str
    seen: dict[str, int] | None
    before: str | None  # None: this change says nothing of what it replaced
    value: str
    # What all of this source's writes of the field had read; filled in by `newest`.
    all_seen: dict[str, int] | None = None
    replaced: dict[str, tuple[int, int]] = field(default_factory=dict)  # hash -> (version, time)

    @property
    def dot(self) -> list[Any]:
        return [self.source, self.version]

    @property
    def is_tombstone(self) -> bool:
        return self.op == "delete"

    @property
    def is_snapshot(self) -> bool:
        return self.op == "snapshot"

    @property
    def when(self) -> tuple[int, int]:
        """For comparing times: a snapshot is earlier than everything that is no snapshot."""
        return (0 if self.is_snapshot else 1, self.occurred_at)

    @property
    def told(self) -> bool:
        return self.seen is not None or self.before is not None


def write(change: dict[str, Any], value: str, before: str | None = None) -> Write:
    return Write(
        source=change["source"],
        version=change["version"],
        occurred_at=change["occurred_at"],
        op=change["op"],
        event_id=change["event_id"],
        seen=change["seen"],
        before=before,
        value=value,
    )


def writes_of(change: dict[str, Any]) -> dict[str, Write]:
    """The change's writes by field. A value equal to the same change's `before` is not a write."""
    if change["op"] == "delete":
        return {}
    before = {name: canonical(value) for name, value in (change["before"] or {}).items()}
    values = {name: canonical(value) for name, value in change["fields"].items()}
    return {name: write(change, value, before.get(name)) for name, value in values.items() if value != before.get(name)}


def touch_of(change: dict[str, Any]) -> Write | None:
    """Every change but a delete; a steward's decision on fields is none, nor is the time that a clock tells."""
    decides_fields = is_steward(change["source"]) and bool(change["fields"])
    return None if change["op"] == "delete" or decides_fields or change["source"] == CLOCK else write(change, "true")


def tombstone_of(change: dict[str, Any]) -> Write | None:
    return write(change, "false") if change["op"] == "delete" else None


# ---- SPEC 3: state of an entity ------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """Per source the newest write of each field, the newest touch and the newest tombstone."""

    fields: dict[str, list[Write]]
    touches: list[Write]
    tombstones: list[Write]


def state_of(history: Iterable[dict[str, Any]]) -> State:
    history = list(history)
    writes: dict[str, list[Write]] = defaultdict(list)
    for change in history:
        for name, one in writes_of(change).items():
            writes[name].append(one)
    return State(
        fields={name: newest_per_source(writes[name]) for name in sorted(writes)},
        touches=newest_per_source([touch for change in history if (touch := touch_of(change))]),
        tombstones=newest_per_source([tomb for change in history if (tomb := tombstone_of(change))]),
    )


def newest_per_source(writes: list[Write]) -> list[Write]:
    by_source: dict[str, list[Write]] = defaultdict(list)
    for one in writes:
        by_source[one.source].append(one)
    return [newest(by_source[source]) for source in sorted(by_source)]


def newest(writes: list[Write]) -> Write:
    """The newest write of one source, with all that these writes had read."""
    version = max(one.version for one in writes)
    stays = min((one for one in writes if one.version == version), key=reuse_order)
    return replace(stays, all_seen=greatest_seen(writes), replaced=replaced_values(writes))


def reuse_order(one: Write) -> tuple[int, str, bool]:
    """Of different writes under one dot the least of this stays.

    No `before` of the field sorts as null; of two writes that differ in nothing else the told one stays.
    """
    before = ABSENT if one.before is None else one.before
    text = ",".join([canonical(one.op), one.value, canonical(one.event_id), canonical(one.seen), before])
    return (one.occurred_at, f"[{text}]", one.before is None)


def greatest_seen(writes: list[Write]) -> dict[str, int] | None:
    """The pointwise greatest `seen`; None if none of the writes had one."""
    clocks = [one.seen for one in writes if one.seen is not None]
    if not clocks:
        return None
    return {source: max(clock.get(source, 0) for clock in clocks) for clock in clocks for source in clock}


def replaced_values(writes: list[Write]) -> dict[str, tuple[int, int]]:
    """The 64 newest distinct values that the writes replaced, each with its newest replacement."""
    times: dict[str, tuple[int, int]] = {}
    for one in writes:
        if one.before is not None and not one.is_snapshot:
            digest = hash_of(one.before)
            times[digest] = max(times.get(digest, (0, 0)), (one.version, one.occurred_at))
    kept = sorted(times, key=lambda digest: (times[digest], digest), reverse=True)[:REPLACED_KEPT]
    return {digest: times[digest] for digest in kept}


def hash_of(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]


# ---- SPEC 3: what a steward pins, and what a steward withdraws -----------------------------------


def is_pin(one: Write) -> bool:
    """A steward's write whose `seen` names its own version under `*pinned`, and no such one under `*released`."""
    seen = one.all_seen or {}
    return is_steward(one.source) and seen.get("*pinned") == one.version and seen.get("*released", 0) < one.version


def pin_among(b: Write, a: Write) -> Write | None:
    """Of a steward's pin and a source's write the pin."""
    stewards = [one for one in (b, a) if is_steward(one.source)]
    return stewards[0] if len(stewards) == 1 and is_pin(stewards[0]) else None


def without_withdrawn(writes: list[Write], told_by: list[Write]) -> list[Write]:
    """Less the decisions of stewards x that a steward's `seen` withdraws, under `*x`."""
    seens = [one.all_seen or {} for one in told_by if is_steward(one.source)]
    return [
        one
        for one in writes
        if not is_steward(one.source) or all(seen.get("*" + one.source, 0) < one.version for seen in seens)
    ]


def without_clock(writes: list[Write]) -> list[Write]:
    return [one for one in writes if one.source != CLOCK]


def standing_state(state: State) -> State:
    """What is judged: the state without what is withdrawn, and without the clock's writes.

    Decisions about existence are touches and tombstones.
    """
    about_existence = state.touches + state.tombstones
    return State(
        fields={name: without_clock(without_withdrawn(writes, writes)) for name, writes in state.fields.items()},
        touches=without_withdrawn(state.touches, about_existence),
        tombstones=without_withdrawn(state.tombstones, about_existence),
    )


def clock_of(state: State) -> dict[str, int]:
    clock: dict[str, int] = {}
    for writes in [state.touches, state.tombstones, *state.fields.values()]:
        for one in (one for one in writes if one.source != CLOCK):
            clock[one.source] = max(one.version, clock.get(one.source, 0))
    return clock


# ---- SPEC 3: evidence and order ------------------------------------------------------------------


def saw(b: Write, a: Write) -> bool:
    """Whether b's source had read a, for a of another source."""
    if b.all_seen is not None:
        return b.all_seen.get(a.source, 0) >= a.version
    if a.is_tombstone or b.is_tombstone:
        return False
    return replaced_it(b, a)


def replaced_it(b: Write, a: Write) -> bool:
    times = []
    if hash_of(a.value) in b.replaced:
        times.append(b.replaced[hash_of(a.value)][1])
    if len(b.replaced) == REPLACED_KEPT:
        oldest = min(b.replaced, key=lambda digest: (b.replaced[digest], digest))
        times.append(b.replaced[oldest][1])
    return any(a.is_snapshot or time >= a.occurred_at for time in times)


def dominates_by_evidence(b: Write, a: Write) -> bool:
    if b.source == a.source:
        return (b.version, b.is_tombstone) > (a.version, a.is_tombstone)
    if pin_among(b, a):
        return pin_among(b, a) is b
    return saw(b, a) and not saw(a, b)


def dominates_by_time(b: Write, a: Write, rule: Rule, rules: Rules) -> bool:
    if b.source == a.source or pin_among(b, a) or saw(b, a) or saw(a, b):
        return False
    return time_counts(b, a, rule, rules) and b.seen is None and ms_later(b, a) > rules.window_ms


def time_counts(b: Write, a: Write, rule: Rule, rules: Rules) -> bool:
    if not (a.is_tombstone or b.is_tombstone):
        return rule.resolver == "last_update_wins"
    if rules.existence.resolver == "source_priority":
        return False
    if rules.existence.resolver == "delete_wins":
        return b.is_tombstone
    return True


def ms_later(b: Write, a: Write) -> float:
    if b.is_snapshot != a.is_snapshot:
        return math.inf if a.is_snapshot else -math.inf
    return b.occurred_at - a.occurred_at


def dominates(b: Write, a: Write, rule: Rule, rules: Rules) -> bool:
    return dominates_by_evidence(b, a) or dominates_by_time(b, a, rule, rules)


def dominated_by_any(a: Write, writes: Iterable[Write], rule: Rule, rules: Rules) -> bool:
    return any(dominates(b, a, rule, rules) for b in writes if b is not a)


# ---- SPEC 3: existence ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Existence:
    exists: bool
    contested: bool
    live: list[Write]
    winner: Write | None

    @property
    def live_tombstones(self) -> list[Write]:
        return [one for one in self.live if one.is_tombstone]


def existence_of(state: State, rules: Rules) -> Existence:
    state, rule = standing_state(state), rules.existence
    touches = [one for one in state.touches if not dominated_by_any(one, state.tombstones, rule, rules)]
    tombstones = [one for one in state.tombstones if not dominated_by_any(one, state.touches, rule, rules)]
    if not touches and not tombstones:
        touches, tombstones = state.touches, state.tombstones
        rule = replace(rule, resolver="last_update_wins")  # a cycle
    live = [*touches, *tombstones]
    if not live:
        return Existence(exists=False, contested=False, live=[], winner=None)
    contested = bool(touches and tombstones)
    exists = touches_win(live, rule) if contested else bool(touches)
    return Existence(exists, contested, live, pick_existence(touches if exists else tombstones, rule))


def touches_win(live: list[Write], rule: Rule) -> bool:
    if rule.resolver in ("update_wins", "delete_wins"):
        return rule.resolver == "update_wins"
    return not pick_existence(live, rule).is_tombstone


def pick_existence(writes: list[Write], rule: Rule) -> Write:
    if rule.resolver == "source_priority":
        return least_by_priority(writes, rule)
    return max(writes, key=lambda one: (*last_update_key(one, rule), one.version, one.is_tombstone))


# ---- SPEC 3: resolvers ---------------------------------------------------------------------------


def last_update_key(one: Write, rule: Rule) -> tuple[Any, ...]:
    return (one.when, -rule.rank(one.source), one.source)


def least_by_priority(writes: list[Write], rule: Rule) -> Write:
    return min(writes, key=lambda one: (rule.rank(one.source), [-part for part in one.when], one.source))


def trust_key(one: Write, rule: Rule, moment: int) -> tuple[Any, ...]:
    """Halvings of the score by the source's age at a moment, to 12 digits: far more than any tie needs."""
    if is_steward(one.source) or one.source not in rule.parameters["scores"]:
        return (2 if is_steward(one.source) else 0, 0, *last_update_key(one, rule))
    half_life = duration_ms((rule.parameters.get("half_life") or {}).get(one.source, 0))
    age = Fraction(moment - one.occurred_at, half_life) if half_life else Fraction(0)
    score = math.log2(rule.parameters["scores"][one.source])
    return (1, round(score - float(age), 12), *last_update_key(one, rule))


def pick(writes: list[Write], rule: Rule, moment: int) -> Write:
    """The write that a resolver picks (every resolver but union and sum; keep_siblings: of equal values)."""
    if rule.resolver == "trust":
        return max(writes, key=lambda one: trust_key(one, rule, moment))
    present = non_null(writes) or writes
    if rule.resolver == "first_update_wins":
        return min(writes, key=lambda one: (one.when, rule.rank(one.source), one.source))
    if rule.resolver == "source_priority":
        return least_by_priority(writes, rule)
    if rule.resolver == "authority":
        return least_by_priority(present, rule)
    if rule.resolver in ("max", "min", "longest"):
        return pick_by_value(present, rule)
    if rule.resolver == "keep_siblings":
        return max(present, key=lambda one: last_update_key(one, rule))
    if rule.resolver in PICKS_BY_LAST_UPDATE:
        return max(writes, key=lambda one: last_update_key(one, rule))
    raise NotImplementedError(f"resolver {rule.resolver!r} is no part of the oracle")


def pick_by_value(writes: list[Write], rule: Rule) -> Write:
    size = length if rule.resolver == "longest" else magnitude
    sizes = [size(one.value) for one in writes]
    best = min(sizes) if rule.resolver == "min" else max(sizes)
    return max((one for one in writes if size(one.value) == best), key=lambda one: last_update_key(one, rule))


def magnitude(text: str) -> tuple[int, Any]:
    value = parse(text)
    if is_number(value):
        return (0, value)
    return (1, value if isinstance(value, str) else text)


def length(text: str) -> int:
    value = parse(text)
    return len(value) if isinstance(value, str) else len(text)


def non_null(writes: list[Write]) -> list[Write]:
    return [one for one in writes if one.value != ABSENT]


def union_of(writes: list[Write]) -> str:
    if not non_null(writes):
        return ABSENT
    values = [parse(one.value) for one in non_null(writes)]
    arrays = [value if isinstance(value, list) else [value] for value in values]
    return "[" + ",".join(sorted({canonical(item) for array in arrays for item in array})) + "]"


def sum_of(writes: list[Write]) -> str:
    numbers = [parse(one.value) for one in writes]
    if not numbers:
        return ABSENT
    total = sum(map(Fraction, numbers))
    if all(isinstance(number, int) for number in numbers) and -(2**63) <= total < 2**63:
        return canonical(int(total))
    try:
        return canonical(float(total))
    except OverflowError:
        return ABSENT


# ---- SPEC 3: fields ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One field resolved: `kept` are the writes that are not dropped, `makers` those that make the value."""

    rule: Rule
    kept: list[Write]
    live: list[Write]
    contested: bool
    value: str
    makers: list[Write]
    winner: Write | None  # None: no single write is the value


def fields_of(state: State, rules: Rules) -> dict[str, Field]:
    moments = {name: max(one.occurred_at for one in writes) for name, writes in state.fields.items()}
    state = standing_state(state)
    fields = {name: field_of(state, name, rules, moments[name]) for name in state.fields}
    for rule, members in rules.groups:
        contested = [name for name in members if name in fields and fields[name].contested]
        if contested:
            moment = max(moments[name] for name in contested)
            source = pick([one for name in contested for one in fields[name].live], rule, moment).source
            fields.update({name: take_from(fields[name], source, rule, moment) for name in contested})
    return fields


def take_from(resolved: Field, source: str, rule: Rule, moment: int) -> Field:
    """A contested field of a group takes the live write of the source that the group picked, or picks its own."""
    theirs = [one for one in resolved.live if one.source == source]
    one = theirs[0] if theirs else pick(resolved.live, rule, moment)
    return replace(resolved, value=one.value, makers=[one], winner=one)


def field_of(state: State, name: str, rules: Rules, moment: int) -> Field:
    rule = rules.of(name)
    writes = state.fields[name]
    if rule.resolver in TOTALS:
        writes = [one for one in writes if not is_steward(one.source)]
    kept = without_dropped(writes, state.tombstones, rule, rules)
    if rule.resolver == "forward_only":
        kept = furthest(kept, rule)
    live = [one for one in kept if not dominated_by_any(one, kept, rule, rules)] or kept
    contested = len({one.value for one in live}) > 1 and (rule.resolver not in NEVER_CONTESTED or oversold(kept, rule))
    value, makers, winner = decide(kept, live, rule, moment)
    return Field(rule, kept, live, contested, value, makers, winner)


def without_dropped(writes: list[Write], tombstones: list[Write], rule: Rule, rules: Rules) -> list[Write]:
    stewards = [one for one in writes if is_steward(one.source)]
    dropped = [one for one in writes if dominated_by_any(one, [*tombstones, *stewards], rule, rules)]
    while True:
        kept = [one for one in writes if one not in dropped]
        more = [one for one in kept if dominated_by_any(one, dropped, rule, rules)]
        if not more:
            return kept
        dropped += more


def furthest(kept: list[Write], rule: Rule) -> list[Write]:
    """The writes of states from which no path of transitions leads to another write's state."""
    transitions = rule.parameters.get("transitions") or {}
    states = rule.parameters.get("states") or ()
    pairs = set(itertools.pairwise(states))
    pairs |= {(state, other) for state, following in transitions.items() for other in following}
    known = {state for pair in pairs for state in pair}.union(states, transitions)
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= more
    told = [one for one in kept if isinstance(parse(one.value), str) and parse(one.value) in known]
    return [one for one in told if not any((parse(one.value), parse(other.value)) in pairs for other in told)]


def oversold(kept: list[Write], rule: Rule) -> bool:
    """Whether the sum of a stock is below its floor."""
    if rule.resolver != "stock":
        return False
    total = parse(sum_of([one for one in kept if is_number(parse(one.value))]))
    return total is not None and total < rule.parameters.get("floor", 0)


def decide(kept: list[Write], live: list[Write], rule: Rule, moment: int) -> tuple[str, list[Write], Write | None]:
    """(value, the writes that make it, the one write that is the value if there is one)."""
    if not live:
        return ABSENT, [], None
    if rule.resolver == "union":
        return union_of(live), non_null(live), None
    if rule.resolver in TOTALS:
        numbers = [one for one in kept if is_number(parse(one.value))]
        value = canonical(rule.parameters.get("floor", 0)) if oversold(kept, rule) else sum_of(numbers)
        return value, numbers, None
    siblings = sorted({one.value for one in non_null(live)})
    if rule.resolver == "keep_siblings" and len(siblings) > 1:
        return "[" + ",".join(siblings) + "]", non_null(live), None
    winner = pick(kept if rule.resolver == "authority" else live, rule, moment)
    return winner.value, [winner], winner


# ---- The golden record ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Golden:
    exists: bool
    known: bool  # there is a touch or a tombstone
    fields: dict[str, Any]
    contested: tuple[str, ...]
    pending: tuple[str, ...]
    provenance: dict[str, tuple[tuple[str, int, int, str], ...]]  # source, version, occurred_at, event_id
    clock: dict[str, int]


def golden(changes: Iterable[dict[str, Any]], policy: dict[str, Any] | None = None) -> dict[str, Golden]:
    """The golden record of every entity, by entity key."""
    histories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for change in changes:
        histories[key_of(change)].append(change)
    return {key: golden_of(history, policy) for key, history in histories.items()}


def key_of(change: dict[str, Any]) -> str:
    return f"{change['entity_type']}:{change['entity_id']}"


def golden_of(history: list[dict[str, Any]], policy: dict[str, Any] | None) -> Golden:
    rules = rules_of(policy, history[0]["entity_type"])
    state = state_of(history)
    existence = existence_of(state, rules)
    fields = fields_of(state, rules) if existence.exists else {}
    present = {name: one for name, one in fields.items() if one.value != ABSENT}
    contested = [name for name, one in fields.items() if one.contested]
    return Golden(
        exists=existence.exists,
        known=bool(state.touches or state.tombstones),
        fields={name: parse(one.value) for name, one in present.items()},
        contested=tuple(sorted(contested + [EXISTENCE] * existence.contested)),
        pending=tuple(sorted(name for name in contested if fields[name].rule.resolver == "manual")),
        provenance={name: provenance_of(one.makers) for name, one in present.items()},
        clock=clock_of(state),
    )


def provenance_of(writes: list[Write]) -> tuple[tuple[str, int, int, str], ...]:
    return tuple(sorted((one.source, one.version, one.occurred_at, one.event_id) for one in writes))


# ---- SPEC 4: conflicts ---------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """Everything that section 4 compares before and after a change."""

    state: State
    existence: Existence
    fields: dict[str, Field]

    def live(self, name: str) -> list[Write]:
        if name == EXISTENCE:
            return self.existence.live
        return self.fields[name].live if name in self.fields else []


def conflicts(changes: Sequence[dict[str, Any]], policy: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The conflict records in arrival order; those of one change by field name, `*` last."""
    records: list[dict[str, Any]] = []
    histories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    views: dict[str, View] = {}
    for change in changes:
        key = key_of(change)
        rules = rules_of(policy, change["entity_type"])
        histories[key].append(change)
        before = views.get(key) or view_of([], rules)
        views[key] = view_of(histories[key], rules)  # from scratch, not from the view before
        records += conflicts_of(change, before, views[key], rules)
    return records


def view_of(history: list[dict[str, Any]], rules: Rules) -> View:
    state = state_of(history)
    return View(state, existence_of(state, rules), fields_of(state, rules))


def conflicts_of(change: dict[str, Any], before: View, after: View, rules: Rules) -> list[dict[str, Any]]:
    about_existence = change["op"] == "delete" or (is_steward(change["source"]) and not change["fields"])
    names = after.fields if about_existence else writes_of(change)
    records = [
        field_conflict(change, name, after.fields[name], rules)
        for name in sorted(names)
        if after.fields[name].contested and live_set_differs(name, before, after)
    ]
    if after.existence.contested and live_set_differs(EXISTENCE, before, after):
        records.append(existence_conflict(change, after))
    elif brings_back_by_time(change, before, after, rules):
        records.append(bring_back(change, before, after))
    return records


def live_set_differs(name: str, before: View, after: View) -> bool:
    return source_values(before.live(name)) != source_values(after.live(name))


def source_values(writes: list[Write]) -> set[tuple[str, str]]:
    return {(one.source, one.value) for one in writes}


def field_conflict(change: dict[str, Any], name: str, resolved: Field, rules: Rules) -> dict[str, Any]:
    own = writes_of(change).get(name)
    pending = resolved.rule.resolver == "manual"
    outcome = "pending" if pending else outcome_of(resolved.winner, own)
    kind = kind_of(resolved.live, resolved.rule, rules)
    return record(change, name, kind, outcome, resolved.winner, resolved.value, resolved.live, resolved.live)


def existence_conflict(change: dict[str, Any], after: View) -> dict[str, Any]:
    existence = after.existence
    latest = max(existence.live, key=lambda one: (one.when, one.source, one.version, one.is_tombstone))
    kind = "delete_recently_updated" if latest.is_tombstone else "update_recently_deleted"
    outcome = outcome_of(existence.winner, tombstone_of(change) or touch_of(change))
    value = canonical(existence.exists)
    return record(change, EXISTENCE, kind, outcome, existence.winner, value, existence.live, existence.live_tombstones)


def brings_back_by_time(change: dict[str, Any], before: View, after: View, rules: Rules) -> bool:
    """Whether a deleted record is there again although nobody who touched it had seen that it was deleted."""
    tombstones = before.existence.live_tombstones
    if change["op"] in ("snapshot", "delete") or not tombstones:
        return False
    if before.existence.exists or not after.existence.exists:
        return False
    still = standing_state(after.state)
    touches = still.touches
    return all(one in still.tombstones for one in tombstones) and all(
        any(dominates_by_time(touch, one, rules.existence, rules) for touch in touches)
        and not any(dominates_by_evidence(touch, one) for touch in touches)
        for one in tombstones
    )


def bring_back(change: dict[str, Any], before: View, after: View) -> dict[str, Any]:
    deleted = before.existence.live_tombstones
    candidates = [*after.existence.live, *deleted]
    winner = after.existence.winner
    return record(change, EXISTENCE, "update_recently_deleted", "apply_remote", winner, "true", candidates, deleted)


def record(
    change: dict[str, Any],
    name: str,
    kind: str,
    outcome: str,
    winner: Write | None,
    value: str,
    candidates: list[Write],
    named_by: list[Write],
) -> dict[str, Any]:
    key = key_of(change)
    listed = sorted((one.source, one.version, one.occurred_at, one.value) for one in candidates)
    return {
        "conflict_id": conflict_id(key, name, named_by),
        "key": key,
        "field": name,
        "kind": kind,
        "outcome": outcome,
        "winner": winner.dot if winner else None,
        "value": parse(value),
        "candidates": [[source, version, at, parse(text)] for source, version, at, text in listed],
        "cause": [change["source"], change["version"]],
    }


def conflict_id(key: str, name: str, writes: list[Write]) -> str:
    dots = sorted(one.dot for one in writes)
    return hashlib.sha256(canonical([key, name, dots]).encode()).hexdigest()[:32]


def kind_of(live: list[Write], rule: Rule, rules: Rules) -> str:
    latest = sorted(live, key=lambda one: (one.when, one.source), reverse=True)
    x = latest[0]
    y = next(one for one in latest if one.value != x.value)
    if x.op == y.op == "create":
        return "insert_exists"
    if x.told and y.told:
        return "update_differing"
    if abs(ms_later(x, y)) <= rules.window_ms:
        return "ambiguous_order"
    return "update_differing" if rule.resolver == "last_update_wins" else "update_origin_differs"


def outcome_of(winner: Write | None, own: Write | None) -> str:
    """The outcome of what is not pending; `own` is what this change itself wrote, if anything."""
    if winner is None:
        return "merge"
    if is_steward(winner.source):
        return "user"
    return "apply_remote" if is_same_write(winner, own) else "keep_local"


def is_same_write(a: Write, b: Write | None) -> bool:
    """Whether two are one write; under a reused dot another write of that dot is not."""
    return b is not None and replace(a, all_seen=None, replaced={}) == b
