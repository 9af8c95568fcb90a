"""`targets …`, `sync` and `backfill`: how far golden records are on their way to targets, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.canonical import canonical
from syncline.commands.look import when
from syncline.commands.options import (
    KeyArgument,
    OutputOption,
    check_key,
    check_target,
    read_targets,
    with_settings,
)
from syncline.terminal import CommandError, Output, run, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.target_document import TargetDocument
    from schemas.target_orders import TargetOrders
    from syncline.target_progress import PartitionProgress

TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="As syncline.yaml names it.")]
LISTED = 20


@with_settings
def status(
    settings: Settings,
    target: Annotated[str | None, typer.Argument(metavar="[TARGET]", help="Default: all declared.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Print how far each target is, partition by partition: position, what is pending, the oldest, rate, trouble."""
    declared = read_targets(settings)
    names = list(declared) if target is None else [target]
    rows = []
    for name in names:
        said = check_target(settings, declared, name)
        orders, progress = run(settings, _look(settings, name, said))
        rows += [_status(name, said, orders, number, one) for number, one in progress.items()]
    if output is Output.json:
        write_json(rows)
        return
    write_table(
        ("target", "mode", "partition", "position", "end", "pending", "oldest", "/s", "backfill", ""),
        [
            (
                row["target"],
                f"{row['mode']}{', paused' if row['paused'] else ''}",
                str(row["partition"]),
                str(row["position"]),
                str(row["end"]),
                str(row["pending"]),
                _age(row["oldest_ms"]),
                str(row["per_second"]),
                _filled(row["backfill"]),
                shown(row["error"] or ("" if row["breaker"] == "closed" else row["breaker"])),
            )
            for row in rows
        ],
    )


@with_settings
def pending(
    settings: Settings,
    target: TargetArgument,
    limit: Annotated[int, typer.Option(help="Most rows; all are counted.")] = LISTED,
    output: OutputOption = Output.table,
) -> None:
    """List what a target has yet to be told: entity, place, since when; the oldest first."""
    said = check_target(settings, read_targets(settings), target)
    _, progress = run(settings, _look(settings, target, said))
    found = sorted(
        ((item.since_ms, item.key, number, item) for number, one in progress.items() for item in one.backlog),
        key=lambda row: row[:3],
    )
    rows = [
        {"key": key, "offset": item.offset, "partition": number, "since_ms": since_ms, "size": item.size}
        for since_ms, key, number, item in found
    ]
    size = sum(row["size"] for row in rows)
    if output is Output.json:
        write_json({"count": len(rows), "oldest_ms": rows[0]["since_ms"] if rows else None, "pending": rows[:limit]})
        return
    if rows:
        cells = [
            (shown(row["key"]), f"{row['partition']}:{row['offset']}", when(row["since_ms"])) for row in rows[:limit]
        ]
        write_table(("entity", "record", "since"), cells)
    oldest = f", the oldest {_age(rows[0]['since_ms'])} old" if rows else ""
    write_lines([f"{len(rows)} pending, {size} bytes{oldest}"])


@with_settings
def clear_pending(
    settings: Settings,
    target: TargetArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Have what is pending now never delivered; what changes later is. Prints how much that is."""
    said = check_target(settings, read_targets(settings), target)
    _, progress = run(settings, _look(settings, target, said))
    count = sum(len(one.backlog) for one in progress.values())
    if not dry_run:
        cleared = {number: one.end - 1 for number, one in progress.items() if one.end}
        _order(settings, target, lambda before: {"cleared": {**before.cleared, **cleared}})
    write_json({"cleared": 0 if dry_run else count, "dry_run": dry_run, "pending": count, "target": target})


@with_settings
def pause(settings: Settings, target: TargetArgument) -> None:
    """Deliver nothing until `resume`; what comes is pending."""
    _say(settings, target, lambda before: {"paused": True})


@with_settings
def resume(settings: Settings, target: TargetArgument) -> None:
    """Deliver again."""
    _say(settings, target, lambda before: {"paused": False})


@with_settings
def skip(settings: Settings, target: TargetArgument, key: KeyArgument) -> None:
    """Put what is pending of an entity away as a dead letter; what changes later is delivered."""
    check_key(key)
    said = check_target(settings, read_targets(settings), target)
    _, progress = run(settings, _look(settings, target, said))
    held = [item for one in progress.values() for item in one.backlog if item.key == key]
    if not held:
        raise CommandError(f"nothing of {shown(key)} is pending for {target}; syncline targets pending {target}")
    _say(settings, target, lambda before: {"skipped": {**before.skipped, key: held[0].offset}})


@with_settings
def mode(
    settings: Settings,
    target: TargetArgument,
    name: Annotated[str | None, typer.Argument(metavar="[MODE]", help="realtime, incremental, …")] = None,
    window: Annotated[str | None, typer.Option(help="windowed_batch: 5m, 1h, …")] = None,
    at: Annotated[str | None, typer.Option(help="windowed_batch: when windows end, as cron has it")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="What syncline.yaml says again.")] = False,
) -> None:
    """Have a target delivered to in another mode, in place of the file's and of its rules."""
    from pydantic import ValidationError

    from schemas.delivery_document import MODES, ModeDocument
    from schemas.suggestion import suggestion

    if (name is None) != reset:
        raise CommandError("give a mode, or --reset")
    if reset:
        _say(settings, target, lambda before: {"mode": None})
        return
    said = check_target(settings, read_targets(settings), target)
    own = {said.delivery.mode, *(rule.mode for rule in said.delivery.rules.values())}
    if name not in {*MODES, *own}:
        raise CommandError(f"mode {name!r} is not known; {suggestion(str(name), {*MODES, *own})}")
    try:
        chosen = ModeDocument.model_validate({"mode": name, "window": window, "at": at})
    except ValidationError as error:
        raise CommandError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    _say(settings, target, lambda before: {"mode": chosen})


@with_settings
def sync(
    settings: Settings,
    target: TargetArgument,
    now: Annotated[bool, typer.Option("--now", help="Needed: what waits for a window or a command goes at once.")],
) -> None:
    """Have all that is pending for a target delivered now, whatever its mode says."""
    said = check_target(settings, read_targets(settings), target)
    _, progress = run(settings, _look(settings, target, said))
    released = {number: one.end - 1 for number, one in progress.items() if one.end}
    _order(settings, target, lambda before: {"released": {**before.released, **released}})
    write_json({"pending": sum(len(one.backlog) for one in progress.values()), "target": target})


@with_settings
def backfill(
    settings: Settings,
    target: TargetArgument,
    pause: Annotated[bool, typer.Option("--pause", help="Hold the one that is under way.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with it.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
) -> None:
    """Have all records delivered to a target again, beside what is new. How far it is: syncline targets status."""
    from uuid import uuid4

    from schemas.target_orders import Backfill

    said = check_target(settings, read_targets(settings), target)
    if pause + resume + cancel > 1:
        raise CommandError("give one of --pause, --resume, --cancel")
    if cancel:
        _say(settings, target, lambda before: {"backfill": None})
        return
    if pause or resume:
        _say(settings, target, lambda before: {"backfill": _held(target, before, pause)})
        return
    _, progress = run(settings, _look(settings, target, said))
    until = {number: one.end for number, one in progress.items()}
    wanted = Backfill(backfill_id=uuid4().hex[:12], until=until)
    _order(settings, target, lambda before: {"backfill": wanted})
    write_json({"backfill_id": wanted.backfill_id, "records": sum(until.values()), "target": target})


def _held(target: str, orders: TargetOrders, paused: bool) -> Any:
    if orders.backfill is None:
        raise CommandError(f"no backfill of {target} was asked for; syncline backfill {target}")
    return orders.backfill.model_copy(update={"paused": paused})


async def _look(
    settings: Settings, name: str, said: TargetDocument
) -> tuple[TargetOrders, dict[int, PartitionProgress]]:
    from syncline.target_progress import progress_of, read_orders

    orders = await read_orders(settings, name)
    return orders, await progress_of(settings, name, said, orders)


def _order(settings: Settings, target: str, change: Callable[[TargetOrders], Mapping[str, Any]]) -> TargetOrders:
    from agents.names import TopicNames
    from syncline.target_progress import give_orders
    from syncline.topic_reader import partitions_of

    check_target(settings, read_targets(settings), target)

    async def work() -> TargetOrders:
        topic = TopicNames.with_prefix(settings.topic_prefix).control
        if not await partitions_of(settings.kafka, topic):
            raise CommandError(f"topic {topic} is not there; a worker creates it: syncline deliver {target}")
        return await give_orders(settings, target, change)

    return run(settings, work())


def _say(settings: Settings, target: str, change: Callable[[TargetOrders], Mapping[str, Any]]) -> None:
    orders = _order(settings, target, change)
    write_json({"target": target, **orders.model_dump(mode="json", exclude_defaults=True)})


def _status(
    name: str, said: TargetDocument, orders: TargetOrders, number: int, one: PartitionProgress
) -> dict[str, Any]:
    told = one.status
    return {
        "target": name,
        "mode": (orders.mode or said.delivery).mode,
        "paused": orders.paused,
        "partition": number,
        "position": one.backlog.committable,
        "end": one.end,
        "pending": len(one.backlog),
        "pending_bytes": one.backlog.size,
        "oldest_ms": one.backlog.oldest_ms,
        "delivered": told.get("delivered", 0),
        "per_second": told.get("per_second", 0),
        "breaker": told.get("breaker", "closed"),
        "error": told.get("error"),
        "told_at_ms": told.get("at_ms"),
        "backfill": {**one.backfill, "paused": orders.backfill.paused}
        if orders.backfill is not None and one.backfill.get("backfill_id") == orders.backfill.backfill_id
        else None,
    }


def _filled(backfill: Mapping[str, Any] | None) -> str:
    if backfill is None:
        return ""
    if backfill["done"]:
        return f"done, {backfill['sent']} sent"
    share = backfill["next"] * 100 // max(backfill["until"], 1)
    return f"{share} %{', paused' if backfill['paused'] else ''}"


def _age(since_ms: int | None) -> str:
    if since_ms is None:
        return ""
    seconds = max(0, int(time() - since_ms / 1000))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


# ---- dead letters ----


@with_settings
def list_letters(settings: Settings, target: TargetArgument, output: OutputOption = Output.table) -> None:
    """List what a target refused or somebody skipped: entity, place, attempts, reason."""
    from syncline.target_letters import letters_of

    check_target(settings, read_targets(settings), target)
    letters = run(settings, letters_of(settings, target))
    if output is Output.json:
        write_json([{**letter.model_dump(exclude={"record"}), "deleted": letter.record is None} for letter in letters])
        return
    write_table(
        ("entity", "record", "at", "attempts", "reason", ""),
        [
            (
                shown(letter.key),
                f"{letter.position.partition}:{letter.position.offset}",
                when(letter.at_ms),
                str(letter.attempts),
                shown(letter.reason),
                "asked for" if letter.redrive else "edited" if letter.edited else "",
            )
            for letter in letters
        ],
    )


@with_settings
def show_letter(settings: Settings, target: TargetArgument, key: KeyArgument) -> None:
    """Print a dead letter whole, as JSON."""
    write_json(_letter(settings, target, key).model_dump())


@with_settings
def edit_letter(
    settings: Settings,
    target: TargetArgument,
    key: KeyArgument,
    changes: Annotated[list[str], typer.Argument(metavar="FIELD=JSON...", help="null takes a field away.")],
) -> None:
    """Change fields of a dead letter, by their names at the target; `redrive` then delivers them."""
    import orjson

    letter = _letter(settings, target, key)
    if letter.record is None:
        raise CommandError(f"{shown(key)} is deleted, so there are no fields")
    fields = dict(letter.record.fields)
    for change in changes:
        name, _equals, text = change.partition("=")
        try:
            fields[name] = orjson.loads(text)
        except ValueError:
            raise CommandError(f"{change!r} is no FIELD=JSON; for example name='\"Ana\"'") from None
    fields = {name: value for name, value in fields.items() if value is not None}
    record = letter.record.model_copy(update={"fields": fields})
    _write(settings, [(letter.model_copy(update={"record": record, "edited": True}), True)])
    write_lines([canonical(fields)])


@with_settings
def redrive(
    settings: Settings,
    target: TargetArgument,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Default: all letters.")] = None,
) -> None:
    """Have dead letters delivered; one of which a newer state was delivered is dropped instead."""
    letters = [_letter(settings, target, key) for key in keys] if keys else _letters(settings, target)
    again = [letter.model_copy(update={"redrive": letter.redrive + 1}) for letter in letters]
    _write(settings, [(letter, True) for letter in again])
    write_json({"redriven": len(again), "target": target})


@with_settings
def drop_letter(settings: Settings, target: TargetArgument, key: KeyArgument) -> None:
    """Forget a dead letter; it is never delivered."""
    _write(settings, [(_letter(settings, target, key), False)])
    write_json({"dropped": key, "target": target})


def _letters(settings: Settings, target: str) -> list[Any]:
    from syncline.target_letters import letters_of

    check_target(settings, read_targets(settings), target)
    return run(settings, letters_of(settings, target))


def _letter(settings: Settings, target: str, key: str) -> Any:
    found = {letter.key: letter for letter in _letters(settings, target)}
    if key not in found:
        raise CommandError(f"{target} has no dead letter of {shown(key)}; syncline targets dead-letters list {target}")
    return found[key]


def _write(settings: Settings, letters: list[tuple[Any, bool]]) -> None:
    from syncline.target_letters import write_letters

    run(settings, write_letters(settings, letters))
