"""What each change of one entity did: a replay of its records, one after the other, by the code that resolves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.canonical import canonical
from schemas.codec import decode_conflict, decode_record
from schemas.conflict import Conflict
from schemas.golden_record import GoldenRecord
from streams.batch import BatchResolver
from streams.effects import BatchEffects, InputRecord
from streams.journal import JournalRow, change_row
from streams.masking import masked
from streams.policy import Policy

#: What is counted of a change that did less than its writer may have meant, in words.
REMARKS: Final = {
    "duplicate": "is the newest of its source again",
    "stale": "is older than the newest of its source",
    "dot_reused": "has a version that another change of its source has",
    "overwrite": "replaces another source's value",
    "update_missing": "updates what does not exist",
    "delete_missing": "deletes what does not exist",
    "not_a_number": "adds what is no number",
    "not_a_state": "has a value that is none of the field's states",
    "oversold": "leaves less than the field's floor",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One change and what it did. row: the change itself. reason, message: why it was refused, None if it was not.

    exists: whether the entity exists after it. moved: field -> its golden value before and after, as canonical JSON
    texts, None where it is absent. remarks: keys of REMARKS. conflicts: those that it caused, or that it changed.
    """

    row: JournalRow
    reason: str | None
    message: str | None
    existed: bool
    exists: bool
    moved: dict[str, tuple[str | None, str | None]]
    remarks: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def history(
    records: Sequence[InputRecord], partition: int, policy: Policy, changes_topic: str, key: bytes | None
) -> list[Step]:
    """The steps of one entity. records: all of its changes, in the order of `changes`. key: as `masked` takes it."""
    engine, states = BatchResolver(policy, changes_topic, masking_key=key), dict[bytes, bytes]()
    golden: GoldenRecord | None = None
    steps: list[Step] = []
    for record in records:
        effects = engine.resolve_batch(partition, [record], states)
        states.update(effects.states)
        before, golden = golden, _golden(effects, golden)
        refused = effects.dead_letters[0] if effects.dead_letters else None
        row = change_row(changes_topic, partition, record, policy, key)
        steps.append(
            Step(
                row=row,
                reason=None if refused is None else refused.reason,
                message=None if refused is None else refused.message,
                existed=before is not None,
                exists=golden is not None,
                moved=_moved(before, golden, policy, key),
                remarks=[name for name in REMARKS if name in effects.counts],
                conflicts=[decode_conflict(body) for _, body in effects.conflicts],
            )
        )
    return steps


def _golden(effects: BatchEffects, before: GoldenRecord | None) -> GoldenRecord | None:
    if not effects.records:
        return before
    _, body = effects.records[-1]
    return None if body is None else decode_record(body)


def _moved(
    before: GoldenRecord | None, after: GoldenRecord | None, policy: Policy, key: bytes | None
) -> dict[str, tuple[str | None, str | None]]:
    some = after or before
    if some is None:
        return {}
    personal = policy.of(some.entity_type).personal
    earlier, later = _texts(before), _texts(after)
    return {
        name: (_hidden(name, earlier.get(name), personal, key), _hidden(name, later.get(name), personal, key))
        for name in sorted(earlier.keys() | later.keys())
        if earlier.get(name) != later.get(name)
    }


def _texts(record: GoldenRecord | None) -> dict[str, str]:
    return {} if record is None else {name: canonical(value) for name, value in record.fields.items()}


def _hidden(name: str, text: str | None, personal: frozenset[str], key: bytes | None) -> str | None:
    return masked(text, key) if text is not None and name in personal else text
