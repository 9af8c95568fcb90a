"""`get` and `explain`: one entity, and why it is as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.canonical import canonical, parse
from syncline.commands.options import KeyArgument, OutputOption, check_key, read_policy, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.golden_record import GoldenRecord
    from streams.entity import Entity
    from streams.explain import Account, Reason


@with_settings
def get(settings: Settings, key: KeyArgument, output: OutputOption = Output.table) -> None:
    """Print an entity's golden record; of a deleted one, that it is deleted."""
    from streams.merge import judge_existence

    record, entity = run(settings, _look_up(settings, check_key(key)))
    if record is not None:
        _print_record(record, output)
        return
    if entity is None:
        raise _unknown(settings, key)
    rules = read_policy(settings).of(key.partition(":")[0])
    contested = ["*"] if judge_existence(entity, rules).contested else []
    told = {"clock": entity.clock(), "contested": contested, "exists": False, "fields": {}, "key": key, "pending": []}
    if output is Output.json:
        write_json(told)
    else:
        disputed = ", and that is in conflict" if contested else ""
        write_lines([f"{shown(key)} is deleted{disputed}; why: syncline explain {shown(key)}"])


@with_settings
def explain(
    settings: Settings,
    key: KeyArgument,
    field: Annotated[str | None, typer.Argument(metavar="[FIELD]", help="Only this field; * is existence.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Say why each value won, over which losers, on what evidence and by which rule of the policy."""
    from streams.explain import explain as reasons_of

    policy = read_policy(settings)
    record, entity = run(settings, _look_up(settings, check_key(key), always_state=True))
    if entity is None:
        raise _unknown(settings, key)
    if record is not None and record.policy_version != policy.version:
        say(
            f"syncline: this explains by policy {policy.version}, the record was made under {record.policy_version}: "
            "SYNCLINE_CONFIG here must be the policy file that the workers have"
        )
    reasons = [r for r in reasons_of(entity, policy.of(key.partition(":")[0])) if field in (None, r.field)]
    if not reasons:
        raise CommandError(f"{shown(key)} has no field {field!r}; it has {', '.join(sorted(entity.fields))}")
    if output is Output.json:
        write_json({"key": key, "policy_version": policy.version, "reasons": [_as_json(reason) for reason in reasons]})
    else:
        _print_reasons(key, policy.version, reasons)


async def _look_up(
    settings: Settings, key: bytes, always_state: bool = False
) -> tuple[GoldenRecord | None, Entity | None]:
    """The entity's newest golden record, None when it has none; and its state where that was asked for or is needed."""
    from agents.names import TopicNames
    from schemas.codec import decode_record
    from streams.entity_codec import decode_entity
    from syncline.places import newest_states, newest_values

    names = TopicNames.with_prefix(settings.topic_prefix)
    value = (await newest_values(settings.kafka, names.records, key)).get(key)
    record = None if value is None else decode_record(value)
    if record is not None and not always_state:
        return record, None
    state = (await newest_states(settings.kafka, names.changelog, key)).get(key)
    return record, None if state is None else decode_entity(state)


def _unknown(settings: Settings, key: str) -> CommandError:
    return CommandError(
        f"no change of {shown(key)!r} is resolved in {settings.topic_prefix}* at {settings.kafka}; "
        "just published ones take a moment: syncline wait"
    )


def _print_record(record: GoldenRecord, output: Output) -> None:
    if output is Output.json:
        write_json({**record.model_dump(), "exists": True, "key": record.key})
        return
    rows = [
        (
            shown(name),
            shown(canonical(value)),
            ", ".join(f"{shown(p.source)}@{p.version}" for p in record.provenance.get(name, ())),
            max((when(p.occurred_at) for p in record.provenance.get(name, ())), default=""),
            "waits for a person" if name in record.pending else "conflict" if name in record.contested else "",
        )
        for name, value in sorted(record.fields.items())
    ]
    write_table(["field", "value", "from", "written", ""], rows, title=shown(record.key))
    absent = [name for name in record.contested if name not in record.fields]
    if absent:
        write_lines([f"in conflict, and absent now: {', '.join(map(shown, absent))} (* is the entity's existence)"])
    clock = ", ".join(f"{shown(source)}@{version}" for source, version in sorted(record.clock.items()))
    place = record.position
    write_lines([f"clock {clock}; policy {record.policy_version}; {place.topic}:{place.partition}:{place.offset}"])


def _print_reasons(key: str, policy_version: str, reasons: list[Reason]) -> None:
    write_lines([f"{shown(key)}, by policy {policy_version}"])
    for reason in reasons:
        value = "absent" if reason.value is None else shown(reason.value)
        state = " (waits for a person)" if reason.pending else " (conflict)" if reason.contested else ""
        name = "* (existence)" if reason.field == "*" else shown(reason.field)
        write_lines(["", f"{name} = {value}{state}  [{reason.rule}]", f"  {shown(reason.why)}"])
        for account in reason.accounts:
            write_lines([_account_line(account)])


def _account_line(account: Account) -> str:
    dot = account.write.dot
    because = f": {account.because}" if account.because else ""
    written = f"{dot.source}@{dot.version} {dot.op} {when(dot.occurred_at)}"
    return shown(f"  - {account.standing:9} {account.write.value}  {written}{because}")


def _as_json(reason: Reason) -> dict[str, Any]:
    return {
        "contested": reason.contested,
        "field": reason.field,
        "pending": reason.pending,
        "rule": reason.rule,
        "value": None if reason.value is None else parse(reason.value),
        "why": reason.why,
        "writes": [
            {
                "because": account.because,
                "event_id": account.write.dot.event_id,
                "occurred_at": account.write.dot.occurred_at,
                "op": account.write.dot.op,
                "source": account.write.dot.source,
                "standing": account.standing,
                "value": parse(account.write.value),
                "version": account.write.dot.version,
            }
            for account in reason.accounts
        ],
    }


def when(occurred_at: int) -> str:
    """ms since the epoch as RFC 3339 in UTC; the number itself where the calendar has no such time."""
    try:
        return datetime.fromtimestamp(occurred_at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{occurred_at} ms"
