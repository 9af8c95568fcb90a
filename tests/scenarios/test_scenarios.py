"""Histories worth arguing about, as text. A file has a policy, changes, and what must come of them.

`SCENARIOS=rewrite pytest tests/scenarios` writes what the engine says now into the files; the diff is then reviewed.
A change is one line: SOURCE@VERSION OP at=MS [seen=JSON] [before=JSON] [FIELDS as a JSON object].
"""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.wire import WireChange
from streams.conflicts import Conflict, find
from streams.entity import Entity, Write, absorb
from streams.golden import document, golden
from streams.merge import judge, rejudge
from streams.policy import EntityPolicy, parse_policy
from tests.laws.histories import wire

FILES = sorted(Path(__file__).parent.glob("*.txt"))
LINE = re.compile(
    r"(?P<source>\S+)@(?P<version>\d+) (?P<op>\w+) at=(?P<at>-?\d+)"
    r"( seen=(?P<seen>\{[^ ]*\}))?( before=(?P<before>\{[^ ]*\}))?( (?P<fields>\{.*\}))?"
)
MOST_PERMUTED = 6


def parse(text: str) -> tuple[str, EntityPolicy, list[WireChange]]:
    """The part of a file above `result:`, its policy and its changes."""
    head, _, _ = text.partition("\nresult:\n")
    about, _, changes = head.partition("\nchanges:\n")
    policy = about.partition("policy:\n")[2]
    return head, parse_policy(yaml.safe_load(policy)).of("customer"), [change(line) for line in changes.splitlines()]


def change(line: str) -> WireChange:
    match = LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{line!r} is no change; it must be like `crm@1 update at=1000 seen={{}} {{...}}`")
    form: dict[str, Any] = {name: json.loads(match[name]) if match[name] else None for name in ("seen", "before")}
    name = f"{match['source']}@{match['version']}"
    return wire(
        {
            **form,
            "event_id": f"customer:1@{name}",
            "entity_type": "customer",
            "entity_id": "1",
            "op": match["op"],
            "source": match["source"],
            "version": int(match["version"]),
            "occurred_at": int(match["at"]),
            "fields": json.loads(match["fields"] or "{}"),
        }
    )


def golden_lines(changes: list[WireChange], policy: EntityPolicy) -> list[str]:
    entity = Entity()
    for one in changes:
        absorb(entity, one)
    record = golden(entity, judge(entity, policy), policy)
    lines = [f"golden {document(record)}" if record.exists else "golden none"]
    lines += [f"contested {' '.join(record.contested)}"] if record.contested else []
    return lines + ([f"pending {' '.join(record.pending)}"] if record.pending else [])


def conflict_lines(changes: list[WireChange], policy: EntityPolicy) -> list[str]:
    entity = Entity()
    judgement = judge(entity, policy)
    lines = []
    for one in changes:
        absorbed = absorb(entity, one)
        revision = rejudge(judgement, entity, policy, absorbed)
        lines += [say(conflict) for conflict in find(revision, judgement, entity, one, policy)]
    return lines


def say(conflict: Conflict) -> str:
    named = {(w.dot.source, w.dot.version, w.value) for w in conflict.candidates}
    among = " | ".join(f"{source}@{version} {value}" for source, version, value in sorted(named))
    by = "" if conflict.winner is None else f" by {dot(conflict.winner)}"
    return f"conflict {conflict.field} {conflict.kind} {conflict.outcome}{by}: {among}"


def dot(write: Write) -> str:
    return f"{write.dot.source}@{write.dot.version}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_ends_as_written(path: Path) -> None:
    """The golden record and the conflicts of the history are those in the file."""
    text = path.read_text()
    head, policy, changes = parse(text)
    result = "\n".join(golden_lines(changes, policy) + conflict_lines(changes, policy))
    whole = f"{head}\nresult:\n{result}\n"
    if os.environ.get("SCENARIOS") == "rewrite":
        path.write_text(whole)
    assert text == whole, f"{path.name} says otherwise; SCENARIOS=rewrite writes what the engine says"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_ends_so_in_any_order(path: Path) -> None:
    """Every order of the history ends in the same golden record, contested and pending fields included."""
    _, policy, changes = parse(path.read_text())
    assert len(changes) <= MOST_PERMUTED, f"{path.name} has {len(changes)} changes; keep it to {MOST_PERMUTED}"
    expected = golden_lines(changes, policy)
    for order in itertools.permutations(changes):
        assert golden_lines(list(order), policy) == expected
