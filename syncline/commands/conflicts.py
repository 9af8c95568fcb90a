"""`conflicts`: what is open, what each of it is, and decisions about it."""

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
)
from syncline.commands.look import when
from syncline.commands.options import OutputOption, policy_in_force, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.command import Command
    from streams.open_conflicts import OpenConflict
    from streams.policy import Policy
    from syncline.inbox import Inbox

WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="NAME=VALUE, all must hold: type, key, kind, field, source, outcome, older, newer."),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="conflict id, or its first characters")]


@with_settings
def list_(
    settings: Settings,
    where: WhereOption = None,
    deferred: Annotated[bool, typer.Option(help="Those that are deferred, in place of the others.")] = False,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Print the conflicts that are open now; those that are deferred are left out until their time."""
    from streams.explain import span
    from syncline.hybrid_clock import wall_clock_ms

    policy, inbox = _inbox(settings, where)
    chosen = [one for one in _chosen(inbox, where) if inbox.deferred_now(one) is deferred]
    hidden = sum(map(inbox.deferred_now, _chosen(inbox, where)))
    mask = masking_of(settings, policy, reveal)
    if output is Output.json:
        write_json({"conflicts": [_as_json(one, inbox, mask) for one in chosen], "deferred": hidden})
        return
    rows = [
        (
            one.conflict_id[:8],
            shown(one.key),
            shown(one.field),
            one.kind,
            one.outcome,
            shown(_value(one, mask)),
            span(max(0, wall_clock_ms() - one.since)),
        )
        for one in chosen
    ]
    write_table(["id", "key", "field", "kind", "outcome", "value", "age"], rows)
    later = f", {hidden} more deferred" if hidden and not deferred else ""
    write_lines([f"{len(chosen)} {'deferred' if deferred else 'open'}{later}"])


@with_settings
def show(
    settings: Settings,
    conflict: IdArgument,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Print a conflict with all its candidates and what they had read; of a closed one, what came of it."""
    from streams.explain import explain

    policy, inbox = _inbox(settings)
    mask = masking_of(settings, policy, reveal)
    found = inbox.find(conflict)
    if found is None:
        _show_closed(settings, policy, inbox, conflict, reveal, output)
        return
    rules = policy.of(found.key.partition(":")[0])
    (reason,) = [one for one in explain(inbox.states[found.key], rules) if one.field == found.field]
    because = {account.write.dot.source: account for account in reason.accounts}
    if output is Output.json:
        told = _as_json(found, inbox, mask)
        write_json({**told, "policy_version": policy.version, "why": reason.why, "open": True})
        return
    rows = [
        (
            shown(f"{write.dot.source}@{write.dot.version}"),
            shown(mask(found.key, found.field, write.value)),
            write.dot.op,
            when(write.dot.occurred_at),
            shown(_had_read(write)),
            shown(f"{because[write.dot.source].standing} {because[write.dot.source].because}".strip()),
        )
        for write in found.candidates
    ]
    columns = ["candidate", "value", "op", "written", "had read", "it"]
    write_table(columns, rows, title=f"{found.conflict_id}: {shown(found.key)} {shown(found.field)}")
    write_lines([_standing(found, inbox, mask), f"{found.kind}, by rule {found.resolver}, policy {policy.version}"])


@with_settings
def resolve(
    settings: Settings,
    conflict: Annotated[str | None, typer.Argument(metavar="[ID]", help="conflict id; or --where for many")] = None,
    where: WhereOption = None,
    take: Annotated[str | None, typer.Option(metavar="SOURCE", help="Take the candidate of this source.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=JSON", help="Set a value; text in quotes.")
    ] = None,
    as_: AsOption = None,
    note: NoteOption = None,
    dry_run: Annotated[bool, typer.Option(help="Say which it would decide, and how; decide nothing.")] = False,
    timeout: TimeoutOption = 30.0,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Decide a conflict, or all that --where lets pass, and say what became of each; exit code 1 if any was not."""
    if (conflict is None) == (not where):
        raise CommandError("name one conflict by its id, or many with --where NAME=VALUE")
    if (take is None) == (not set_):
        raise CommandError("say what it shall be: --take SOURCE, or --set FIELD=JSON")
    values = _values(set_ or [])
    policy, inbox = _inbox(settings, where)
    chosen = _chosen(inbox, where) if conflict is None else [_open(inbox, conflict)]
    chosen = [one for one in chosen if conflict is not None or not inbox.deferred_now(one)]
    mask = masking_of(settings, policy, reveal)
    commands: list[Command] = []
    for one in chosen:
        value, trouble = _decision(one, take, values)
        if trouble:
            if conflict is not None:
                raise CommandError(trouble)
            say(f"syncline: {one.conflict_id[:12]} {shown(one.key)}: {trouble}: left out")
            continue
        seen = inbox.states[one.key].clock()
        commands.append(
            command_about(
                "resolve", one.key, one.field, as_, value=value, seen=seen, conflict_id=one.conflict_id, note=note
            )
        )
    if dry_run:
        _would(commands, mask, output)
    else:
        report(settings, policy, commands, timeout, mask, output)


@with_settings
def defer(
    settings: Settings,
    conflict: IdArgument,
    until: Annotated[str, typer.Option(help="A time of RFC 3339, or from now on such as 2h or 7d.")],
    as_: AsOption = None,
    note: NoteOption = None,
) -> None:
    """Hide a conflict from the list until a time; new writes make another conflict of it, which is shown."""
    from agents.control import tell
    from agents.expiry import DEFERRALS
    from agents.names import TopicNames
    from syncline.commands.deciding import steward

    end = moment(until)
    found = _open(_inbox(settings)[1], conflict)
    told = {"by": steward(as_), "field": found.field, "key": found.key, "note": note, "until": end}
    control = TopicNames.with_prefix(settings.topic_prefix).control
    run(settings, tell(settings.kafka, control, f"{DEFERRALS}{found.conflict_id}", told))
    write_json({"conflict_id": found.conflict_id, **told})


@with_settings
def reopen(settings: Settings, conflict: IdArgument) -> None:
    """Show a deferred conflict again."""
    from agents.control import tell
    from agents.expiry import DEFERRALS
    from agents.names import TopicNames

    deferred = _inbox(settings)[1].deferred
    found = [name for name in deferred if name.startswith(conflict)]
    if len(found) != 1:
        raise CommandError(
            f"{len(found)} deferred conflicts have an id that begins with {conflict!r}; see list --deferred"
        )
    control = TopicNames.with_prefix(settings.topic_prefix).control
    run(settings, tell(settings.kafka, control, f"{DEFERRALS}{found[0]}", None))
    write_json({"conflict_id": found[0], "key": deferred[found[0]]["key"]})


@with_settings
def undo(
    settings: Settings,
    decision: Annotated[
        str, typer.Argument(metavar="ID", help="of the decision or pin, or of the conflict it decided")
    ],
    as_: AsOption = None,
    note: NoteOption = None,
    timeout: TimeoutOption = 30.0,
    reveal: RevealOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Take a decision back: it is judged as if it had never been made, so its conflict may be open again."""
    from streams.stewardship import decision_of

    policy, inbox = _inbox(settings)
    found = inbox.decided(decision)
    if found is None:
        raise CommandError(f"no decision {decision!r} stands; it was overtaken, or taken back: syncline explain KEY")
    command = command_about("undo", found.key, found.field, as_, decision=decision_of(found.write), note=note)
    report(settings, policy, [command], timeout, masking_of(settings, policy, reveal), output)


def _inbox(settings: Settings, where: list[str] | None = None) -> tuple[Policy, Inbox]:
    from syncline.hybrid_clock import wall_clock_ms
    from syncline.inbox import filter_of, key_in, read_inbox

    filter_of(where or [], wall_clock_ms())  # a mistake in it is told before anything is read
    policy = run(settings, policy_in_force(settings))
    return policy, run(settings, read_inbox(settings, policy, key_in(where or [])))


def _chosen(inbox: Inbox, where: list[str] | None) -> list[OpenConflict]:
    from syncline.hybrid_clock import wall_clock_ms
    from syncline.inbox import filter_of

    passes = filter_of(where or [], wall_clock_ms())
    return [one for one in inbox.conflicts if passes(one)]


def _open(inbox: Inbox, conflict: str) -> OpenConflict:
    found = inbox.find(conflict)
    if found is not None:
        return found
    decided = inbox.decided(conflict)
    if decided is not None:
        by = f"{decided.write.dot.source}@{decided.write.dot.version}"
        raise CommandError(
            f"conflict {conflict} is decided: {shown(decided.key)} {shown(decided.field)}, by {shown(by)}"
        )
    raise CommandError(f"no conflict {conflict!r} is open; syncline conflicts show tells what came of it, list what is")


def _values(sets: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in sets:
        field, sign, text = one.partition("=")
        try:
            if not sign:
                raise ValueError
            values[field] = parse(text)
        except ValueError:
            quoted = f"--set '{field}=\"{text}\"'"
            raise CommandError(f"--set {one}: it is FIELD=JSON, and text needs quotes: {quoted}") from None
    return values


def _decision(conflict: OpenConflict, take: str | None, values: dict[str, Any]) -> tuple[Any, str]:
    """The value that was chosen for a conflict, or why there is none."""
    if take is None:
        if conflict.field not in values:
            return None, f"the conflict is about {shown(conflict.field)}, and --set names {', '.join(values)}"
        value = values[conflict.field]
        if conflict.field == "*" and not isinstance(value, bool):
            return None, "existence is set with '*=true', it exists, or '*=false', it is deleted"
        return value, ""
    for write in conflict.candidates:
        if write.dot.source == take:
            return parse(write.value), ""
    sources = ", ".join(sorted({write.dot.source for write in conflict.candidates}))
    return None, f"{take} has no candidate; {shown(sources)} have"


def _would(commands: list[Command], mask: Any, output: Output) -> None:
    from schemas.canonical import canonical

    rows = [
        {
            "conflict_id": one.conflict_id,
            "field": one.field,
            "key": one.key,
            "value": parse(mask(one.key, one.field or "", canonical(one.value))),
        }
        for one in commands
    ]
    if output is Output.json:
        write_json({"would_decide": rows})
        return
    cells = [
        (row["conflict_id"][:12], shown(row["key"]), shown(row["field"]), shown(canonical(row["value"])))
        for row in rows
    ]
    write_table(["id", "key", "field", "to be"], cells)
    write_lines([f"{len(rows)} would be decided"])


def _value(conflict: OpenConflict, mask: Any) -> str:
    return "absent" if conflict.value is None else mask(conflict.key, conflict.field, conflict.value)


def _standing(conflict: OpenConflict, inbox: Inbox, mask: Any) -> str:
    value = shown(_value(conflict, mask))
    said = (
        f"{value} is served provisionally until a person decides"
        if conflict.outcome == "pending"
        else f"{value} stands"
    )
    told = inbox.deferred.get(conflict.conflict_id) if inbox.deferred_now(conflict) else None
    if told is None:
        return said
    note = f": {told['note']}" if told.get("note") else ""
    return f"{said}; deferred until {when(told['until'])} by {shown(told['by'])}{shown(note)}"


def _had_read(write: Any) -> str:
    if write.seen is not None:
        return ", ".join(f"{source}@{version}" for source, version in sorted(write.seen.items())) or "nothing"
    return f"{len(write.replaced)} replaced values" if write.replaced else "not told"


def _as_json(conflict: OpenConflict, inbox: Inbox, mask: Any) -> dict[str, Any]:
    winner = conflict.winner
    return {
        "candidates": [
            {
                "event_id": write.dot.event_id,
                "occurred_at": write.dot.occurred_at,
                "op": write.dot.op,
                "replaced_values": len(write.replaced or ()),
                "seen": write.seen,
                "source": write.dot.source,
                "value": parse(mask(conflict.key, conflict.field, write.value)),
                "version": write.dot.version,
            }
            for write in conflict.candidates
        ],
        "conflict_id": conflict.conflict_id,
        "deferred": inbox.deferred.get(conflict.conflict_id),
        "field": conflict.field,
        "key": conflict.key,
        "kind": conflict.kind,
        "outcome": conflict.outcome,
        "provisional": conflict.outcome == "pending",
        "resolver": conflict.resolver,
        "since": conflict.since,
        "value": None if conflict.value is None else parse(mask(conflict.key, conflict.field, conflict.value)),
        "winner": None if winner is None else {"source": winner.dot.source, "version": winner.dot.version},
    }


def _show_closed(settings: Settings, policy: Policy, inbox: Inbox, conflict: str, reveal: bool, output: Output) -> None:
    """What was recorded of a conflict that is not open any more, and what stands now."""
    from streams.explain import explain
    from streams.journal import hidden_conflict
    from syncline.history import note_of, recorded

    record = run(settings, recorded(settings, conflict))
    if record is None:
        raise CommandError(f"no conflict {conflict!r} is open, and none was ever recorded")
    rules = policy.of(record.entity_type)
    now = next((one for one in explain(inbox.states[record.key], rules) if one.field == record.field), None)
    decided = inbox.decided(record.conflict_id)
    note = None if decided is None else run(settings, note_of(settings, decided.key, decided.write))
    mask = masking_of(settings, policy, reveal)
    value = None if now is None or now.value is None else mask(record.key, record.field, now.value)
    if output is Output.json:
        if not reveal:
            record = hidden_conflict(record, policy, settings.masking_key)
        told = {"now": None if value is None else parse(value), "why": now and now.why, "note": note, "open": False}
        write_json({**record.model_dump(), "key": record.key, **told})
        return
    among = ", ".join(f"{one.source}@{one.version}" for one in record.candidates)
    write_lines(
        [
            f"{record.conflict_id}: {shown(record.key)} {shown(record.field)}, {record.kind}, among {shown(among)}",
            f"not open any more: {shown(value or 'absent')} stands; {shown(now.why if now else '')}",
            *([f"note: {shown(note)}"] if note else []),
        ]
    )
