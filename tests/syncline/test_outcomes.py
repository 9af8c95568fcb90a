"""What the workers' records say became of a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.dead_letters import dead_letter_row
from agents.names import TopicNames
from schemas.change import Change
from schemas.codec import encode_change, encode_command
from schemas.command import Command
from streams.batch import BatchResolver
from streams.effects import DeadLetter
from streams.policy import parse_policy
from streams.rehearsal import Arrival
from syncline.outcomes import Hearing, Outcome

NAMES = TopicNames.with_prefix("")
KEY = b"customer:1"
ENTITY = {"entity_type": "customer", "entity_id": "1"}
COMMAND = Command(
    **ENTITY,
    command_id="c1",
    kind="release",
    requested_by="ana",
    requested_at=1,
    field="email",
)
DECISION = Change(
    **ENTITY,
    event_id="release/p1/c1",
    op="update",
    source="steward:ana",
    version=1,
    occurred_at=1,
    seen={},
    fields={"email": "a@x"},
)
AT = 5


@dataclass
class Record:
    """A record as a consumer hands it over."""

    topic: str
    value: bytes | None
    key: bytes | None = KEY
    offset: int = AT
    partition: int = 0
    timestamp: int = 1
    headers: Any = ()


def decision() -> Record:
    """The change that a worker made of the command."""
    return Record(NAMES.changes, encode_change(DECISION))


def letter(record: Record) -> Record:
    """The same record, refused."""
    row = dead_letter_row(record.topic, 0, record, DeadLetter(0, "superseded", "resolve", "nothing is pinned"))
    return Record(NAMES.dead_letters, row.value, row.key, headers=row.headers)


def state() -> Record:
    """The entity's state once the change is in it."""
    effects = BatchResolver(parse_policy({}), "").resolve_batch(0, [Arrival(AT, 1, KEY, encode_change(DECISION))], {})
    ((_, stored),) = effects.states
    return Record(NAMES.changelog, stored)


def outcome_of(*records: Record) -> Outcome:
    """What became of the command when these are heard."""
    outcome = Outcome(COMMAND)
    hearing = Hearing(NAMES, {COMMAND.command_id: outcome})
    for record in records:
        hearing.hear(record)  # type: ignore[arg-type]
        hearing.look()
    return outcome


def command() -> Record:
    """The command itself."""
    return Record(NAMES.commands, encode_command(COMMAND))


def test_a_decision_that_is_in_the_state_is_decided() -> None:
    """It is published, and then the entity's state has it."""
    assert outcome_of().state == "unanswered"
    assert outcome_of(decision()).state == "unresolved"
    assert outcome_of(decision(), state()).state == "decided"


def test_a_command_or_its_decision_can_be_refused() -> None:
    """With the reason and the message of the dead letter."""
    for refused in (outcome_of(letter(command())), outcome_of(decision(), letter(decision()))):
        assert (refused.state, refused.reason, refused.message) == ("refused", "superseded", "nothing is pinned")


def test_a_command_that_is_read_again_and_refused_was_decided() -> None:
    """A worker that ends between a decision and the command's commit leaves the command to the next one."""
    assert outcome_of(decision(), letter(command()), state()).state == "decided"
    assert outcome_of(decision(), state(), letter(command())).state == "decided"
