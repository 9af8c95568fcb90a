"""`history`: all changes of an entity, and what each did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.canonical import canonical, parse
from syncline.commands.look import when
from syncline.commands.options import KeyArgument, OutputOption, check_key, policy_in_force, with_settings
from syncline.terminal import CommandError, Output, run, shown, write_json, write_lines

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.conflict import Conflict
    from streams.history import Step
    from streams.policy import Policy


@with_settings
def history(settings: Settings, key: KeyArgument, output: OutputOption = Output.table) -> None:
    """Tell an entity's changes in their order, what each did, and the conflicts it led to, by the policy of now."""
    policy = run(settings, policy_in_force(settings))
    steps = run(settings, _steps(settings, policy, check_key(key)))
    if not steps:
        raise CommandError(f"there is no change of {shown(key)!r} in {settings.topic_prefix}* at {settings.kafka}")
    if output is Output.json:
        write_json({"key": key, "policy_version": policy.version, "changes": [_as_json(step) for step in steps]})
        return
    write_lines([f"{shown(key)}, by policy {policy.version}"])
    for step in steps:
        write_lines(["", shown(_headline(step)), *(f"  {shown(line)}" for line in _lines(step))])


async def _steps(settings: Settings, policy: Policy, key: bytes) -> list[Step]:
    from contextlib import aclosing

    from agents.names import TopicNames
    from streams.history import history as history_of
    from syncline.topic_reader import read_topic

    changes = TopicNames.with_prefix(settings.topic_prefix).changes
    found: list[Any] = []
    place = 0
    async with aclosing(read_topic(settings.kafka, changes, key)) as batches:
        async for partition, records in batches:
            found += records
            place = partition
    return history_of(found, place, policy, changes, settings.masking_key)


def _headline(step: Step) -> str:
    row, told = step.row, parse(step.row.body)
    version = f"@{told['version']}" if "version" in told else ""
    written = ", ".join(f"{name} = {canonical(value)}" for name, value in told.get("values", {}).items())
    return f"{when(row.at_ms)}  {row.partition}:{row.offset}  {row.source}{version} {row.kind}  {written}".rstrip()


def _lines(step: Step) -> list[str]:
    from streams.history import REMARKS

    if step.reason is not None:
        return [f"refused, {step.reason}: {step.message}"]
    lines = []
    if step.exists != step.existed:
        lines.append("the entity exists" if step.exists else "the entity is deleted")
    for name, (before, after) in step.moved.items():
        if step.exists:
            lines.append(f"{name}: {before or 'absent'} -> {after or 'absent'}")
    lines += [f"it {REMARKS[name]}" for name in step.remarks]
    lines += [_conflict_line(conflict) for conflict in step.conflicts]
    return lines or ["nothing of the golden record changed"]


def _conflict_line(conflict: Conflict) -> str:
    field = "existence" if conflict.field == "*" else conflict.field
    values = ", ".join(f"{one.source}@{one.version}: {canonical(one.value)}" for one in conflict.candidates)
    return f"conflict about {field}, {conflict.kind}, {conflict.outcome} by {conflict.resolver}: {values}"


def _as_json(step: Step) -> dict[str, Any]:
    from syncline.commands.journal import as_json

    def value(text: str | None) -> Any:
        return None if text is None else parse(text)

    return {
        "change": as_json(step.row),
        "refused": None if step.reason is None else {"reason": step.reason, "message": step.message},
        "exists": step.exists,
        "moved": {name: {"before": value(old), "after": value(new)} for name, (old, new) in step.moved.items()},
        "remarks": step.remarks,
        "conflicts": [conflict.model_dump() for conflict in step.conflicts],
    }
