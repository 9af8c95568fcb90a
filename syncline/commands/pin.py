"""`pin` and `unpin`: a field that keeps its value whatever sources write, until a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.canonical import parse
from syncline.commands.deciding import (
    AsOption,
    NoteOption,
    RevealOption,
    TimeoutOption,
    command_about,
    masking_of,
    moment,
    report,
    steward,
)
from syncline.commands.options import KeyArgument, OutputOption, check_key, policy_in_force, with_settings
from syncline.terminal import CommandError, Output, run, shown

if TYPE_CHECKING:
    from agents.settings import Settings
    from streams.entity import Entity
    from streams.policy import Policy

FieldArgument = Annotated[str, typer.Argument(metavar="FIELD", help="the field; * is existence")]


@with_settings
def pin(
    settings: Settings,
    key: KeyArgument,
    field: FieldArgument,
    until: Annotated[str, typer.Option(help="A time of RFC 3339, or from now on such as 2h or 7d.")],
    value: Annotated[str | None, typer.Option(metavar="JSON", help="Default: the value it has now.")] = None,
    as_: AsOption = None,
    note: NoteOption = None,
    timeout: TimeoutOption = 30.0,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Hold a field at a value until a time, whatever sources write; then what they wrote counts again."""
    end = moment(until)
    policy, entity = _state(settings, key)
    chosen = _current(key, field, entity, policy) if value is None else _given(value)
    command = command_about("pin", key, field, as_, value=chosen, until=end, seen=entity.clock(), note=note)
    report(settings, policy, [command], timeout, masking_of(settings, policy, reveal), output)


@with_settings
def unpin(
    settings: Settings,
    key: KeyArgument,
    field: FieldArgument,
    as_: AsOption = None,
    note: NoteOption = None,
    timeout: TimeoutOption = 30.0,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """End one's own pin before its time. (Somebody else's is taken back with conflicts undo.)"""
    from streams.stewardship import decision_of, pinned, standing

    policy, entity = _state(settings, key)
    writes = entity.touches + entity.tombstones if field == "*" else entity.fields.get(field, [])
    pins = {write.dot.source: decision_of(write) for write in standing(writes, []) if pinned(write)}
    own = f"steward:{steward(as_)}"
    if own not in pins:
        by = f"; {shown(', '.join(pins))} did" if pins else ""
        raise CommandError(f"{own} has not pinned {shown(field)} of {shown(key)}{by}")
    command = command_about("release", key, field, as_, decision=pins[own], note=note)
    report(settings, policy, [command], timeout, masking_of(settings, policy, reveal), output)


def _state(settings: Settings, key: str) -> tuple[Policy, Entity]:
    from syncline.commands.look import unknown
    from syncline.inbox import read_inbox

    raw = check_key(key)
    policy = run(settings, policy_in_force(settings))
    states = run(settings, read_inbox(settings, policy, raw)).states
    if key not in states:
        raise unknown(settings, key)
    return policy, states[key]


def _current(key: str, field: str, entity: Entity, policy: Policy) -> Any:
    from streams.merge import EXISTENCE, judge

    judgement = judge(entity, policy.of(key.partition(":")[0]))
    if field == EXISTENCE:
        return judgement.existence.exists
    if field not in judgement.fields:
        raise CommandError(f"{shown(key)} has no field {field!r}; give the value to pin with --value")
    value = judgement.fields[field].value
    return None if value is None else parse(value)


def _given(value: str) -> Any:
    try:
        return parse(value)
    except ValueError:
        raise CommandError(f"--value {value}: it is JSON, and text needs quotes: --value '\"{value}\"'") from None
