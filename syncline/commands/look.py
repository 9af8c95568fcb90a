"""`get` and `explain`: one entity, and why it is as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from schemas.canonical import canonical, parse
from syncline.commands.options import KeyArgument, OutputOption, check_key, policy_in_force, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents.settings import Settings
    from schemas.golden_record import GoldenRecord
    from streams.entity import Entity, Write
    from streams.explain import Account, Reason
    from streams.policy import Policy


class Shown(NamedTuple):
    """A reason with its values as they may be shown. written: one for each account."""

    reason: Reason
    value: str | None
    written: list[str]
    others: dict[str, str | None]


@with_settings
def get(settings: Settings, key: KeyArgument, output: OutputOption = Output.table) -> None:
    """Print an entity's golden record; of a deleted one, that it is deleted."""
    from streams.merge import judge_existence

    record, entity = run(settings, _look_up(settings, check_key(key)))
    if record is not None:
        _print_record(record, output)
        return
    if entity is None:
        raise unknown(settings, key)
    rules = run(settings, policy_in_force(settings)).of(key.partition(":")[0])
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
    at: Annotated[str | None, typer.Option(help="As it was at this time (RFC 3339), by what Kafka had then.")] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print values of personal fields as they are.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Say why each value won, over which losers, on what evidence, by which rule, and what other rules would choose."""
    from streams.explain import explain as reasons_of
    from syncline.commands.deciding import masking_of

    raw, moment = check_key(key), _moment(at)
    policy = run(settings, policy_in_force(settings))
    record, entity = _state_at(settings, policy, raw, moment)
    if entity is None:
        raise unknown(settings, key)
    if record is not None and record.policy_version != policy.version:
        say(
            f"syncline: this explains by policy {policy.version}, the record was made under {record.policy_version}: "
            "a change of the policy may be under way (syncline policy status), or SYNCLINE_CONFIG here must be the "
            "policy file that the workers have"
        )
    reasons = [r for r in reasons_of(entity, policy.of(key.partition(":")[0])) if field in (None, r.field)]
    if not reasons:
        raise CommandError(f"{shown(key)} has no field {field!r}; it has {', '.join(sorted(entity.fields))}")
    mask = masking_of(settings, policy, reveal)
    masked = [_masked(reason, lambda text, name=reason.field: mask(key, name, text)) for reason in reasons]
    if output is Output.json:
        write_json(
            {"at": at, "key": key, "policy_version": policy.version, "reasons": [_as_json(one) for one in masked]}
        )
    else:
        _print_reasons(f"{key}{f' at {at}' if at else ''}", policy.version, masked)


def _state_at(
    settings: Settings, policy: Policy, key: bytes, at_ms: int | None
) -> tuple[GoldenRecord | None, Entity | None]:
    """The entity's newest record and state, or only the state that it had at a time."""
    from syncline.history import state_at

    if at_ms is None:
        return run(settings, _look_up(settings, key, always_state=True))
    return None, run(settings, state_at(settings, policy, key, at_ms))


def _moment(at: str | None) -> int | None:
    from schemas.rfc3339 import parse_time

    try:
        return None if at is None else parse_time(at)
    except ValueError:
        raise CommandError(f"--at {at}: it is a time such as 2026-12-24T18:00:00Z") from None


def _masked(reason: Reason, mask: Callable[[str], str]) -> Shown:
    """A reason as it may be shown: its values, masked where the field is personal."""
    values = {name: None if value is None else mask(value) for name, value in reason.others.items()}
    value = None if reason.value is None else mask(reason.value)
    return Shown(reason, value, [mask(account.write.value) for account in reason.accounts], values)


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


def unknown(settings: Settings, key: str) -> CommandError:
    """The error for an entity of which nothing is known."""
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
            "provisional, waits for a person"
            if name in record.pending
            else "conflict"
            if name in record.contested
            else "",
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


def _print_reasons(key: str, policy_version: str, shown_reasons: list[Shown]) -> None:
    write_lines([f"{shown(key)}, by policy {policy_version}"])
    for reason, value, written, others in shown_reasons:
        state = " (provisional, waits for a person)" if reason.pending else " (conflict)" if reason.contested else ""
        name = "* (existence)" if reason.field == "*" else shown(reason.field)
        said = "absent" if value is None else shown(value)
        write_lines(["", f"{name} = {said}{state}  [{reason.rule}]", f"  {shown(reason.why)}"])
        if reason.pin is not None:
            write_lines([f"  {_pin_line(reason.pin)}"])
        for account, text in zip(reason.accounts, written, strict=True):
            write_lines([_account_line(account, text)])
        if len(set(others.values())) > 1:
            write_lines([f"  by other rules: {_by_value(others)}"])


def _by_value(others: dict[str, str | None]) -> str:
    rules: dict[str, list[str]] = {}
    for rule, value in others.items():
        rules.setdefault("absent" if value is None else shown(value), []).append(rule)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in rules.items())


def _pin_line(pin: Write) -> str:
    from streams.stewardship import pinned_until

    until = pinned_until(pin)
    return shown(f"pinned by {pin.dot.source}, {'until it is released' if until is None else f'until {when(until)}'}")


def _account_line(account: Account, text: str) -> str:
    dot = account.write.dot
    because = f": {account.because}" if account.because else ""
    written = f"{dot.source}@{dot.version} {dot.op} {when(dot.occurred_at)}"
    return shown(f"  - {account.standing:9} {text}  {written}{because}")


def _as_json(told: Shown) -> dict[str, Any]:
    from streams.stewardship import pinned_until

    reason, value, written, others = told
    pin = reason.pin
    return {
        "by_other_rules": {name: None if text is None else parse(text) for name, text in others.items()},
        "contested": reason.contested,
        "field": reason.field,
        "pending": reason.pending,
        "pin": None if pin is None else {"by": pin.dot.source, "until": pinned_until(pin)},
        "rule": reason.rule,
        "value": None if value is None else parse(value),
        "why": reason.why,
        "writes": [
            {
                "because": account.because,
                "event_id": account.write.dot.event_id,
                "occurred_at": account.write.dot.occurred_at,
                "op": account.write.dot.op,
                "source": account.write.dot.source,
                "standing": account.standing,
                "value": parse(text),
                "version": account.write.dot.version,
            }
            for account, text in zip(reason.accounts, written, strict=True)
        ],
    }


def when(occurred_at: int) -> str:
    """ms since the epoch as RFC 3339 in UTC; the number itself where the calendar has no such time."""
    try:
        return datetime.fromtimestamp(occurred_at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{occurred_at} ms"
