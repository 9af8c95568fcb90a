"""The state of one entity, a join-semilattice (SPEC section 3, "State of an entity").

All that is kept is, per field and source, the source's newest write with everything that this source's
writes of the field had read; and per source its newest touch and its newest tombstone, likewise. A change is
first lifted to the writes that it makes; `absorb` joins them into the state. Joining is commutative,
associative and idempotent, so any order and any duplication of a history end in the same state.

Nothing here decides who wins: that is `streams.merge`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import mypyc_attr

from schemas.avro_binary import encode_value, read_string, read_value, write_long, write_string
from schemas.canonical import canonical
from schemas.rules import CLOCK
from schemas.wire import WireChange
from streams.causality import Clock, join_clocks
from streams.conflict_budget import ConflictBudget
from streams.names import name_of

TOUCH: Final = "true"
TOMBSTONE: Final = "false"
STEWARD_PREFIX: Final = "steward:"
MAX_REPLACED: Final = 64

# Added to nothing and taken from the time of every snapshot: a snapshot says what a source holds and not when it
# wrote it, so it is earlier than all that is no snapshot, by more than any window.
SNAPSHOT_SHIFT: Final = 1 << 64

# What a write said about the value that it replaced. The text itself is not kept: where two writes share a dot
# only its order against `null` and its presence matter (see `_reuse_order`).
BEFORE_ABSENT: Final = 0
BEFORE_BELOW_NULL: Final = 1
BEFORE_NULL: Final = 2
BEFORE_ABOVE_NULL: Final = 3
_BEFORE_ORDER: Final = (1, 0, 1, 2)

Replaced = dict[int, tuple[int, int]]
"""8-byte hash of a replaced value -> (version, occurred_at in ms) of the newest write that replaced it."""


@mypyc_attr(acyclic=True)
class Dot:
    """What all writes of one change share.

    seen: the change's own causal context, None when it is not known. time: occurred_at as it is compared, which
    puts every snapshot before everything else. by_steward: a person wrote it. by_clock: it only tells the time.
    event_id: None where `encoded`, which states and records carry, has it, at `id_at`. round, index: the encoder's own
    note of where the dot stands in the state it is writing.
    """

    __slots__ = (
        "_encoded",
        "_event_id",
        "_id_at",
        "by_clock",
        "by_steward",
        "index",
        "occurred_at",
        "op",
        "round",
        "seen",
        "source",
        "time",
        "version",
    )

    def __init__(
        self,
        source: str,
        version: int,
        occurred_at: int,
        op: str,
        event_id: str | None,
        seen: Clock | None,
        encoded: bytes | None = None,
        id_at: int = 0,
    ) -> None:
        self.source: Final = source
        self.version: Final = version
        self.occurred_at: Final = occurred_at
        self.op: Final = op
        self.seen: Final = seen
        self.time: Final = occurred_at - SNAPSHOT_SHIFT if op == "snapshot" else occurred_at
        self.by_steward: Final = source.startswith(STEWARD_PREFIX)
        self.by_clock: Final = source == CLOCK
        self._event_id = event_id
        self._encoded = encoded
        self._id_at: Final = id_at
        self.round = 0
        self.index = 0

    @property
    def event_id(self) -> str:
        """The id of the change."""
        event_id = self._event_id
        if event_id is None:
            event_id = self._event_id = read_string(self.encoded, self._id_at)[0]
        return event_id

    @property
    def encoded(self) -> bytes:
        """Source, version, occurred_at and event_id, as Provenance, Candidate and KnownDot begin."""
        encoded = self._encoded
        if encoded is None:
            out = BytesWriter()
            out.write(name_of(self.source).encoded)
            write_long(out, self.version)
            write_long(out, self.occurred_at)
            write_string(out, self.event_id)
            encoded = self._encoded = out.getvalue()
        return encoded


@mypyc_attr(acyclic=True)
class Write:
    """A source's newest write of a field, or its newest touch (value `true`) or tombstone (value `false`).

    text, encoded: its value as canonical JSON and as bytes of the Value union; one of them is given, the other one is
    made when it is first asked for. before: one of the BEFORE_ constants. seen: the greatest `seen` of all this
    source's writes of the field. replaced: the newest values that they replaced, as long as none had a `seen`.
    Never changed once made; a newer write takes its place.
    """

    __slots__ = ("_encoded", "_hash", "_text", "before", "dot", "replaced", "seen")

    def __init__(
        self,
        dot: Dot,
        text: str | None,
        before: int,
        seen: Clock | None,
        replaced: Replaced | None,
        encoded: bytes | None = None,
    ) -> None:
        self.dot: Final = dot
        self.before: Final = before
        self.seen: Final = seen
        self.replaced: Final = replaced
        self._text = text
        self._encoded = encoded
        self._hash = -1

    @property
    def value(self) -> str:
        """Its value as canonical JSON text."""
        text = self._text
        if text is None:
            assert self._encoded is not None, "a write has a text or bytes"
            text = self._text = read_value(self._encoded, 0)[0]
        return text

    @property
    def encoded(self) -> bytes:
        """Its value as the Value union."""
        encoded = self._encoded
        if encoded is None:
            encoded = self._encoded = encode_value(self.value)
        return encoded

    def having_read(self, seen: Clock | None, replaced: Replaced | None) -> Write:
        """The same write of a source that has read more."""
        return Write(self.dot, self._text, self.before, seen, replaced, self._encoded)

    @property
    def told(self) -> bool:
        """The writer said what it had read: a `seen`, or a `before` of this field (SPEC section 4)."""
        return self.before != BEFORE_ABSENT or self.dot.seen is not None

    @property
    def value_hash(self) -> int:
        """The hash of the value, made when first asked for."""
        if self._hash < 0:
            self._hash = hash_value(self.value)
        return self._hash


@mypyc_attr(acyclic=True)
class Entity:
    """State of one entity.

    fields: name -> one write per source. offset: place in its partition of the last change that moved the state,
    -1 for none. stewarded: a person wrote to some field, which leaves no touch. budget: of conflict records; it
    decides nothing, and is no part of the semilattice.
    """

    __slots__ = ("budget", "fields", "offset", "stewarded", "tombstones", "touches")

    def __init__(self) -> None:
        self.touches: list[Write] = []
        self.tombstones: list[Write] = []
        self.fields: dict[str, list[Write]] = {}
        self.offset = -1
        self.stewarded = False
        self.budget: ConflictBudget | None = None

    def clock(self) -> Clock:
        """source -> highest version among all that is kept."""
        clock: Clock = {}
        for write in self.touches:
            clock[write.dot.source] = write.dot.version
        for write in self.tombstones:
            if clock.get(write.dot.source, 0) < write.dot.version:
                clock[write.dot.source] = write.dot.version
        if self.stewarded:
            for writes in self.fields.values():
                for write in writes:
                    if clock.get(write.dot.source, 0) < write.dot.version and not write.dot.by_clock:
                        clock[write.dot.source] = write.dot.version
        return clock


@mypyc_attr(acyclic=True)
class Absorbed:
    """What one change did to a state.

    changed: anything at all. buried: a tombstone moved, or a person decided about existence, so every field may have.
    written: the fields that the change wrote, moved or not. reused: another change had its dot.
    """

    __slots__ = ("buried", "changed", "reused", "written")

    def __init__(self) -> None:
        self.changed = False
        self.buried = False
        self.reused = False
        self.written: list[str] = []


def hash_value(text: str) -> int:
    """The first 8 bytes of the SHA-256 of a canonical text, under which a replaced value is remembered."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def absorb(entity: Entity, change: WireChange) -> Absorbed:
    """Joins one change into the state in place (the state is the shell's own copy) and tells what moved."""
    result = Absorbed()
    dot = Dot(change.source, change.version, change.occurred_at, change.op, change.event_id, change.seen)
    if change.op == "delete":
        _join_into(entity.tombstones, Write(dot, TOMBSTONE, BEFORE_ABSENT, dot.seen, None), result)
        result.buried = result.changed
        return result
    by_steward = dot.by_steward
    if not dot.by_clock and not (by_steward and change.fields):
        # A person's decision about fields says nothing about existence.
        _join_into(entity.touches, Write(dot, TOUCH, BEFORE_ABSENT, dot.seen, None), result)
        # A person who decides that it exists may have taken a delete back by that.
        result.buried = by_steward and result.changed
    for name, value in change.fields.items():
        write = _lift(dot, value, None if change.before is None else change.before.get(name))
        if write is None:
            continue
        result.written.append(name)
        entity.stewarded = entity.stewarded or by_steward
        writes = entity.fields.get(name)
        if writes is None:
            entity.fields[name] = [write]
            result.changed = True
        else:
            _join_into(writes, write, result)
    return result


def join(left: Entity, right: Entity) -> Entity:
    """The least state that contains both; neither argument is changed."""
    joined = Entity()
    ignored = Absorbed()
    for entity in (left, right):
        for write in entity.touches:
            _join_into(joined.touches, write, ignored)
        for write in entity.tombstones:
            _join_into(joined.tombstones, write, ignored)
        for name, writes in entity.fields.items():
            for write in writes:
                _join_into(joined.fields.setdefault(name, []), write, ignored)
    joined.offset = max(left.offset, right.offset)
    joined.stewarded = left.stewarded or right.stewarded
    return joined


def _lift(dot: Dot, value: str, before: str | None) -> Write | None:
    """The write that a change makes of one field; None when the value is what was there before."""
    if before is None:
        return Write(dot, value, BEFORE_ABSENT, dot.seen, None)
    if before == value:
        return None
    rank = BEFORE_NULL if before == "null" else BEFORE_BELOW_NULL if before < "null" else BEFORE_ABOVE_NULL
    replaced = None
    if dot.seen is None and dot.op != "snapshot":
        replaced = {hash_value(before): (dot.version, dot.occurred_at)}
    return Write(dot, value, rank, dot.seen, replaced)


def _join_into(writes: list[Write], write: Write, result: Absorbed) -> None:
    """Joins a write into the one of its source, or adds it."""
    source = write.dot.source
    for place, old in enumerate(writes):
        if old.dot.source == source:
            joined = _join_writes(old, write, result)
            if joined is not old:
                writes[place] = joined
                result.changed = True
            return
    writes.append(write)
    result.changed = True


def _join_writes(old: Write, new: Write, result: Absorbed) -> Write:
    """Join of two writes of one source; `old` itself where nothing is new."""
    newest = old
    if new.dot.version > old.dot.version:
        newest = new
    elif new.dot.version == old.dot.version:
        order = _reuse_order(new) if _differ(old, new) else ""
        if order:
            result.reused = True
            if (new.dot.occurred_at, order, -new.before) < (old.dot.occurred_at, _reuse_order(old), -old.before):
                newest = new
    seen = join_clocks(old.seen, new.seen)
    replaced = None if seen is not None else _join_replaced(old.replaced, new.replaced)
    if seen is newest.seen and replaced is newest.replaced:
        return newest
    return newest.having_read(seen, replaced)


def _differ(old: Write, new: Write) -> bool:
    """Two writes under one dot that are not the same write: a producer's fault."""
    a, b = old.dot, new.dot
    return (
        a.occurred_at != b.occurred_at
        or old.value != new.value
        or a.event_id != b.event_id
        or a.op != b.op
        or a.seen != b.seen
        or old.before != new.before
    )


def _reuse_order(write: Write) -> str:
    """Canonical JSON of [op, value, event_id, seen, before], with `before` only as its order against null.

    Of two writes that agree in all but a `before` on the same side of null nothing that differs is kept, so the
    side is as good as the text. A tie between an absent `before` and a null one goes to the one that told.
    """
    dot = write.dot
    head = f'["{dot.op}",{write.value},{canonical(dot.event_id)},{canonical(dot.seen)},'
    return head + "bnz"[_BEFORE_ORDER[write.before]]


def _join_replaced(left: Replaced | None, right: Replaced | None) -> Replaced | None:
    """The newest MAX_REPLACED distinct replaced values of both, by (version, time, hash)."""
    if right is None:
        return left
    if left is None:
        return right
    joined: Replaced | None = None
    for value, when in right.items():
        kept = left.get(value)
        if kept is None or kept < when:
            if joined is None:
                joined = dict(left)
            joined[value] = when
    if joined is None:
        return left
    if len(joined) > MAX_REPLACED:
        newest = sorted(joined.items(), key=lambda item: (item[1], item[0]), reverse=True)[:MAX_REPLACED]
        joined = dict(newest)
        if joined == left:
            return left
    return joined
