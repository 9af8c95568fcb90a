"""What `syncline demo` shows: the conflicts with their reasons, dead letters, golden records, digests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, NamedTuple

from agents.names import TopicNames
from agents.settings import Settings
from schemas.canonical import canonical
from schemas.codec import decode_conflict, decode_record
from schemas.conflict import Candidate, Conflict
from schemas.golden_record import GoldenRecord
from streams.entity import BEFORE_ABSENT, Dot, Write
from streams.explain import name_of, preference
from streams.policy import Policy
from syncline.places import PLACES, Digest, digest, newest_values
from syncline.terminal import shown, write_lines, write_table
from syncline.topic_reader import read_topic

#: Rows of one table; a file of one's own may have any number.
MOST_ROWS = 25


class Report(NamedTuple):
    """conflicts: the newest record of each id, with its sentence, in the order of Kafka. letters: (place, reason,
    message). records: by key. open: (key, field) in conflict now."""

    conflicts: list[tuple[Conflict, str]]
    letters: list[tuple[str, str, str]]
    records: list[GoldenRecord]
    digests: list[Digest]
    open: set[tuple[str, str]]

    @property
    def agreed(self) -> bool:
        """Whether every place holds the same."""
        return len({found.sha256 for found in self.digests}) == 1

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON value."""
        return {
            "agreed": self.agreed,
            "conflicts": [
                {**conflict.model_dump(), "open": (conflict.key, conflict.field) in self.open, "why": why}
                for conflict, why in self.conflicts
            ],
            "dead_letters": [
                {"message": message, "place": place, "reason": reason} for place, reason, message in self.letters
            ],
            "digests": [asdict(found) for found in self.digests],
            "records": [record.model_dump() for record in self.records],
        }


async def make_report(settings: Settings, policy: Policy) -> Report:
    """Read everything that a run left on Kafka and in Redis."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    conflicts: dict[str, Conflict] = {}
    async with aclosing(read_topic(settings.kafka, names.conflicts)) as batches:
        async for _, records in batches:
            for record in records:
                conflict = decode_conflict(record.value)
                conflicts.pop(conflict.conflict_id, None)
                conflicts[conflict.conflict_id] = conflict
    letters = []
    async with aclosing(read_topic(settings.kafka, names.dead_letters)) as batches:
        async for _, records in batches:
            letters += [_letter(dict(record.headers)) for record in records]
    newest = await newest_values(settings.kafka, names.records)
    golden = [decode_record(value) for _, value in sorted(newest.items())]
    in_order = sorted(conflicts.values(), key=lambda c: (c.key, c.position.offset, c.field))
    return Report(
        conflicts=[(conflict, sentence(conflict, policy)) for conflict in in_order],
        letters=sorted(letters),
        records=golden,
        digests=[await digest(place, settings, policy) for place in PLACES],
        open={(record.key, field) for record in golden for field in record.contested},
    )


def sentence(conflict: Conflict, policy: Policy) -> str:
    """Who won over whom, and why, as one sentence."""
    rules = policy.of(conflict.entity_type)
    ranks = rules.ranks if conflict.field == "*" else rules.rule(conflict.field).ranks
    writes = [_write(candidate) for candidate in conflict.candidates]
    if conflict.winner is None:
        return f"{conflict.resolver} makes one value of all: {', '.join(map(name_of, writes))}"
    dot = (conflict.winner.source, conflict.winner.version)
    won = next((write for write in writes if (write.dot.source, write.dot.version) == dot), None)
    if won is None:
        return f"{dot[0]}@{dot[1]} is taken by {conflict.resolver}"
    lost = [write for write in writes if write.value != won.value]
    if conflict.field == "*":
        kept = "the update" if won.value == "true" else "the delete"
        others = ", ".join(f"{write.dot.op} {name_of(write)}" for write in lost)
        return f"{kept} {name_of(won)} over {others}: neither knew of the other, and on_delete is {conflict.resolver}"
    group = rules.rule(conflict.field).group
    why = preference(conflict.resolver, won, lost[0], ranks)
    if group is not None:
        why = f"the group {group} goes to {won.dot.source} as a whole"
    told = f"{name_of(won)} over {', '.join(map(name_of, lost))}: {why}"
    return f"{told}; until a person decides" if conflict.outcome == "pending" else told


def print_report(report: Report) -> None:
    """The tables of a report, on stdout."""
    rows = [
        (
            f"{shown(conflict.key)} {shown(conflict.field)}\n{conflict.kind}",
            shown(why),
            "open" if (conflict.key, conflict.field) in report.open else "settled",
        )
        for conflict, why in report.conflicts
    ]
    _print("Conflicts, and who won why", ["entity, field, kind", "decision", "now"], rows)
    _print("Dead letters: bad input is kept with its reason", ["record", "reason", "message"], report.letters)
    rows_of_records = [(shown(record.key), _fields(record), ", ".join(record.contested)) for record in report.records]
    _print("Golden records", ["entity", "fields", "in conflict"], rows_of_records)
    digests = [(found.place, str(found.count), found.sha256) for found in report.digests]
    _print("The same in every place?", ["place", "count", "sha256"], digests)
    sign = "=" if report.agreed else "are not all the same:"
    names = [found.place for found in report.digests]
    write_lines([f"{' = '.join(names)}" if report.agreed else f"{', '.join(names)} {sign} see the digests above"])


def _print(title: str, columns: list[str], rows: list[Any]) -> None:
    if not rows:
        write_lines([f"{title}: none", ""])
        return
    write_table(columns, rows[:MOST_ROWS], title=title)
    if len(rows) > MOST_ROWS:
        write_lines([f"... and {len(rows) - MOST_ROWS} more", ""])


def _fields(record: GoldenRecord) -> str:
    return "\n".join(shown(f"{name}: {canonical(value)}") for name, value in sorted(record.fields.items()))


def _write(candidate: Candidate) -> Write:
    dot = Dot(candidate.source, candidate.version, candidate.occurred_at, candidate.op, candidate.event_id, None)
    return Write(dot, canonical(candidate.value), BEFORE_ABSENT, None, None)


def _letter(headers: Mapping[str, bytes]) -> tuple[str, str, str]:
    def told(name: str) -> str:
        return shown(headers.get(name, b"").decode(errors="replace"))

    place = ":".join(told(f"__connect.errors.{part}") for part in ("topic", "partition", "offset"))
    return place, told("syncline-reason"), told("__connect.errors.exception.message")
