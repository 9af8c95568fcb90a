"""One batch of one partition: changes in, effects out (DESIGN section 2).

A batch is grouped by entity; each entity's changes are absorbed and judged one by one, since conflicts are found
per change, and its state, golden record and view row are made once. Nothing here sends, stores or waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from schemas.fast import decode_change
from schemas.refusal import Refusal
from schemas.rules import CLOCK
from schemas.wire import WireChange
from streams.admission import NULL_KEY, admit, entity_key
from streams.conflict_budget import ConflictBudget
from streams.conflicts import Conflict, counted_as, find
from streams.effects import BatchEffects, DeadLetter, InputRecord, ViewRow
from streams.encoding import encode_conflict, encode_record, spread_dots
from streams.entity import Absorbed, Entity, Write, absorb
from streams.entity_codec import encode_entity
from streams.golden import clock_text, document, golden, names_text
from streams.held import DECODED, Held, HeldEntities
from streams.merge import Revision, rejudge
from streams.policy import EntityPolicy, Policy
from streams.reresolution import decided_otherwise
from streams.resolvers.decision import FAILED, NULL, OVERSOLD

DEFAULT_CACHE_BYTES: Final = 512 * 1024 * 1024


class StoredStates(Protocol):
    """Where encoded states are kept: the Faust table, or a dict."""

    def get(self, key: bytes, /) -> bytes | None: ...


# By how much a change can enlarge a state, at the most, for each byte of its record and besides: a field of three
# bytes on the wire becomes a name, a write with its indexes, and what it replaced.
GROWTH: Final = 10
GROWTH_BESIDES: Final = 100
# In a state a dot stands once, in records and conflicts beside each write: so many times the limit of a state is let
# be taken by a state and all these dots. What the topics take of one record is more than can become of that.
SPREAD: Final = 2
# A state of n bytes has at most n/2 writes, so its dots spread over at most n * n / 8.
LEAST_SPREAD: Final = 8

Arrival = tuple[int, int, WireChange, int, int]
"""A change with its place in the batch, its offset, and the bytes and the append time (ms) of its record."""


class BatchResolver:
    """Resolves batches under one policy. Holds decoded entities of about cache_bytes in all partitions together."""

    def __init__(
        self,
        policy: Policy,
        changes_topic: str,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        masking_key: bytes | None = None,
    ) -> None:
        self.policy: Final = policy
        self.changes_topic: Final = changes_topic
        self.limits: Final = policy.limits
        self.cache_bytes: Final = cache_bytes
        self.masking_key: Final = masking_key
        self._most_spread: Final = SPREAD * policy.limits.state_bytes
        self._held: Final[dict[int, HeldEntities]] = {}

    def forget(self, partition: int) -> None:
        """Drops what is held of a partition; it is no longer ours."""
        self._held.pop(partition, None)

    def resolve_batch(self, partition: int, records: Sequence[InputRecord], states: StoredStates) -> BatchEffects:
        """All effects of a batch. Refuses single records into `dead_letters`; raises nothing for bad input."""
        effects = BatchEffects()
        groups: dict[bytes, list[int]] = {}
        for place, record in enumerate(records):
            key = record.key
            if key is None:
                _refuse(effects, place, Refusal("null_key", NULL_KEY, "check"))
                continue
            places = groups.get(key)
            if places is None:
                groups[key] = [place]
            else:
                places.append(place)
        # An entity's changes are decoded when it is its turn: what a whole batch decodes to is more than the fastest
        # memory holds.
        for key, places in groups.items():
            arrivals = self._admitted(key, places, records, effects)
            if arrivals:
                self._resolve_entity(partition, key, arrivals, states, effects)
        effects.dead_letters.sort()
        return effects

    def _admitted(
        self, key: bytes, places: list[int], records: Sequence[InputRecord], effects: BatchEffects
    ) -> list[Arrival]:
        """The changes at these places of the batch, less those that are refused."""
        arrivals: list[Arrival] = []
        try:
            name = entity_key(key)
        except Refusal as refusal:
            for place in places:
                _refuse(effects, place, refusal)
            return arrivals
        for place in places:
            record = records[place]
            value = record.value
            try:
                if value is None:
                    raise Refusal("null_value", "the record has no value; to delete, send a change with op delete")
                change = decode_change(value, self.limits)
                admit(change, name, record.timestamp, self.policy)
            except Refusal as refusal:
                _refuse(effects, place, refusal)
                continue
            arrivals.append((place, record.offset, change, len(value), record.timestamp))
        return arrivals

    def reemit(self, partition: int, key: bytes, stored: bytes) -> BatchEffects:
        """The record and the view row of an entity as its state has them, for force_sync."""
        effects = BatchEffects()
        entity_type, _, entity_id = key.decode().partition(":")
        held = Held(stored, self.policy.of(entity_type))
        self._emit(partition, key, entity_type, entity_id, held, effects)
        return effects

    def reresolve(
        self, partition: int, key: bytes, stored: bytes, former: Sequence[EntityPolicy] | None
    ) -> BatchEffects:
        """As `reemit`, with the conflicts of which one of these policies had decided otherwise; None: with all."""
        effects = BatchEffects()
        name = key.decode()
        entity_type, _, entity_id = name.partition(":")
        held = Held(stored, self.policy.of(entity_type))
        self._emit(partition, key, entity_type, entity_id, held, effects)
        found = decided_otherwise(name, held.entity, held.judgement, held.policy, former)
        self._record(partition, key, [(held.entity.offset, conflict) for conflict in found], held, effects)
        return effects

    def _resolve_entity(
        self, partition: int, key: bytes, arrivals: list[Arrival], states: StoredStates, effects: BatchEffects
    ) -> None:
        first = arrivals[0][2]
        entities, held = self._hold(partition, key, first.entity_type, states)
        stored, size = held.stored, held.size()
        replayed = False
        begin = 0
        while begin < len(arrivals):
            end = self._end_of_part(held, arrivals, begin)
            if self._resolve_part(partition, key, held, arrivals[begin:end], effects):
                replayed = True
            begin = end
        moved = held.stored is not stored
        if moved and held.stored is not None:
            effects.states.append((key, held.stored))
            effects.applied = max(effects.applied, held.entity.offset)
        if moved or replayed:
            self._emit(partition, key, first.entity_type, first.entity_id, held, effects)
        entities.grew(held.size() - size)
        entities.trim(self.cache_bytes // DECODED // len(self._held))

    def _resolve_part(self, partition: int, key: bytes, held: Held, part: list[Arrival], effects: BatchEffects) -> bool:
        """Absorbs a part of an entity's changes. True if one of them was delivered again: after a crash the state has
        it, but its record may not have been sent."""
        entity = held.entity
        conflicts: list[tuple[int, Conflict]] = []
        counts: list[str] = []
        applied = 0
        moved = replayed = False
        comes_again = part[0][1] <= entity.offset
        for index, offset, change, _, append_time in part:
            if self._one_source_too_many(entity, change.source):
                _refuse(effects, index, self._too_many_sources(key))
                continue
            applied += 1
            found = len(conflicts)
            if _apply(held, change, offset, conflicts, counts):
                self._spend(entity, conflicts, found, append_time)
                moved = True
                entity.offset = max(entity.offset, offset)
            elif offset <= entity.offset:
                replayed = True
        if moved:
            encoded = encode_entity(entity, partition)
            # What came before the state's position is in it. A change of those that moves it was refused when it
            # came first, and is refused again, even if it fits by now.
            if (
                comes_again
                or len(encoded) > self.limits.state_bytes
                or self._spread(encoded, entity) > self._most_spread
            ):
                held.restore()
                _refuse(effects, part[0][0], self._too_large(key))
                return False
            held.stored = encoded
        if applied:
            effects.count("applied", applied)
        for count in counts:
            effects.count(count)
        self._record(partition, key, conflicts, held, effects)
        return replayed

    def _record(
        self, partition: int, key: bytes, conflicts: list[tuple[int, Conflict]], held: Held, effects: BatchEffects
    ) -> None:
        """Counts conflicts, and records those that are not left out."""
        for offset, conflict in conflicts:
            effects.count(counted_as(conflict))
            if conflict.left_out >= 0:
                personal = conflict.field in held.policy.personal
                version, topic, secret = self.policy.version, self.changes_topic, self.masking_key
                body = encode_conflict(conflict, version, topic, partition, offset, personal, secret)
                effects.conflicts.append((key, body))

    def _spend(self, entity: Entity, conflicts: list[tuple[int, Conflict]], first: int, append_time: int) -> None:
        """Counts conflicts from the one at `first` on against the entity's budget of records."""
        for _, conflict in conflicts[first:]:
            if entity.budget is None:
                entity.budget = ConflictBudget(0, 0, 0)
            conflict.left_out = entity.budget.left_out_before(append_time, self.policy.conflicts_per_minute)

    def _end_of_part(self, held: Held, arrivals: list[Arrival], begin: int) -> int:
        """Where the longest part ends that surely fits; one change at least, which is refused if it does not.

        However a log is cut, no state on the way through such a part can be too large: so the same are refused.
        A change that comes again is a part of its own.
        """
        end = begin + 1
        if end == len(arrivals) or arrivals[begin][1] <= held.entity.offset:
            return end
        encoded = b"" if held.stored is None else held.stored
        size, spread = len(encoded), self._spread(encoded, held.entity)
        for place in range(begin, len(arrivals)):
            _, _, change, received, _ = arrivals[place]
            size += GROWTH * received + GROWTH_BESIDES
            spread += (GROWTH + 1 + len(change.fields)) * received + GROWTH_BESIDES
            if size > self.limits.state_bytes or spread > self._most_spread:
                break
            end = place + 1
        return max(end, begin + 1)

    def _spread(self, encoded: bytes, entity: Entity) -> int:
        """What a state and the dots beside its writes take; where that is sure to be little, a bound of it."""
        size = len(encoded)
        bound = size + size * size // LEAST_SPREAD
        return bound if 2 * bound <= self._most_spread else size + spread_dots(entity)

    def _one_source_too_many(self, entity: Entity, source: str) -> bool:
        # Each leaves one touch or tombstone at least, but for people.
        if len(entity.touches) + len(entity.tombstones) < self.limits.seen and not entity.stewarded:
            return False
        if source == CLOCK:
            return False
        clock = entity.clock()
        return source not in clock and len(clock) >= self.limits.seen

    def _too_many_sources(self, key: bytes) -> Refusal:
        return Refusal(
            "too_many_sources",
            f"entity {key.decode()!r} has changes of {self.limits.seen} sources, as many as a clock may name;"
            " raise the limit on seen or declare the sources",
            "resolve",
        )

    def _too_large(self, key: bytes) -> Refusal:
        return Refusal(
            "state_too_large",
            f"the state of entity {key.decode()!r} would have more than {self.limits.state_bytes} bytes with this"
            f" change, or with the ids beside each value {SPREAD} times as many; raise the limit or split the entity",
            "resolve",
        )

    def _emit(
        self, partition: int, key: bytes, entity_type: str, entity_id: str, held: Held, effects: BatchEffects
    ) -> None:
        """The golden record, or its removal, for the topic and for the view."""
        entity = held.entity
        record = golden(entity, held.judgement, held.policy)
        clock, contested = clock_text(record.clock), names_text(record.contested)
        if not record.exists:
            effects.records.append((key, None))
            effects.view.append(ViewRow(key, None, clock, contested, entity.offset))
            return
        body = encode_record(
            record, entity_type, entity_id, self.policy.version, self.changes_topic, partition, entity.offset
        )
        effects.records.append((key, body))
        effects.view.append(ViewRow(key, document(record), clock, contested, entity.offset))

    def _hold(self, partition: int, key: bytes, entity_type: str, states: StoredStates) -> tuple[HeldEntities, Held]:
        """The decoded entity, and where it is held."""
        entities = self._held.get(partition)
        if entities is None:
            entities = self._held[partition] = HeldEntities()
        held = entities.find(key)
        if held is None:
            held = Held(states.get(key), self.policy.of(entity_type))
            entities.add(key, held)
        return entities, held


def _refuse(effects: BatchEffects, index: int, refusal: Refusal) -> None:
    effects.dead_letters.append(DeadLetter(index, refusal.reason, refusal.stage, str(refusal)))
    effects.count("refused:" + refusal.reason)


def _apply(
    held: Held, change: WireChange, offset: int, conflicts: list[tuple[int, Conflict]], counts: list[str]
) -> bool:
    """Absorbs one change into what is held; True if the state moved."""
    entity, judgement, policy = held.entity, held.judgement, held.policy
    known = _newest_version(entity, change)
    existed = judgement.existence.exists
    absorbed = absorb(entity, change)
    if absorbed.changed:
        revision = rejudge(judgement, entity, policy, absorbed)
        for conflict in find(revision, judgement, entity, change, policy):
            conflicts.append((offset, conflict))
        if change.fields:
            _count_overruled(policy, change, revision, counts)
    _count(change, known, existed, absorbed, counts)
    return absorbed.changed


def _newest_version(entity: Entity, change: WireChange) -> int:
    """The newest version of the change's source before it, 0 for none."""
    newest = 0
    source = change.source
    for writes in (entity.touches, entity.tombstones):
        for write in writes:
            if write.dot.source == source and write.dot.version > newest:
                newest = write.dot.version
    return newest


def _count(change: WireChange, known: int, existed: bool, absorbed: Absorbed, counts: list[str]) -> None:
    """What is counted of the change as a whole, and is no conflict (SPEC section 4)."""
    if absorbed.reused or (change.version == known and absorbed.changed):
        counts.append("dot_reused")
    elif change.version == known:
        counts.append("duplicate")
    elif change.version < known:
        counts.append("stale")
    elif not existed and (change.op == "update" or change.op == "delete"):
        counts.append(change.op + "_missing")


def _among(write: Write, writes: list[Write]) -> bool:
    for other in writes:
        if other is write:
            return True
    return False


def _count_overruled(policy: EntityPolicy, change: WireChange, revision: Revision, counts: list[str]) -> None:
    """What is counted of single fields: values overruled without a conflict, and totals that are no number."""
    source = change.source
    for name, earlier, verdict in revision.fields:
        if earlier is not None and not verdict.contested:
            for write in earlier.live:
                if write.value != verdict.value and write.dot.source != source and not _among(write, verdict.live):
                    counts.append("overwrite")
                    break
        resolver = policy.rule(name).resolver
        if verdict.note == OVERSOLD:
            counts.append(OVERSOLD)
        elif verdict.note:
            counts.append(f"resolver_failed:{verdict.note.removeprefix(FAILED)}:{resolver.name}")
        if resolver.fits is not None:
            value = change.fields[name]
            if value != NULL and not resolver.fits(value):
                counts.append(resolver.misfit)
