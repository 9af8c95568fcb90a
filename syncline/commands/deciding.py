"""What the commands by which people decide have in common: who decides, and what is said of the outcome."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schemas.canonical import canonical, parse
from syncline.commands.options import check_key
from syncline.terminal import CommandError, Output, run, shown, write_json, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.command import Command
    from streams.policy import Policy
    from syncline.outcomes import Outcome

AsOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who decides; default: your user name.")]
NoteOption = Annotated[str | None, typer.Option(help="Why; kept with the command.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait for the outcome at most.")]
RevealOption = Annotated[bool, typer.Option("--reveal", help="Print values of personal fields as they are.")]

Mask = Callable[[str, str, str], str]
"""Entity key, field and canonical JSON text -> what may be shown of it."""

NAME_CHARACTERS = 128


def steward(name: str | None) -> str:
    """The name of who decides. Raises CommandError."""
    chosen = getpass.getuser() if name is None else name
    if not chosen or len(chosen) > NAME_CHARACTERS or not chosen.isprintable() or "/" in chosen:
        raise CommandError(f"--as {chosen!r}: a name has 1 to {NAME_CHARACTERS} printable characters, and no /")
    return chosen


def moment(text: str) -> int:
    """A time of RFC 3339, or one from now on such as 2h, in ms since the epoch. Raises CommandError."""
    from pydantic import TypeAdapter, ValidationError

    from schemas.document import Duration
    from schemas.rfc3339 import parse_time
    from syncline.hybrid_clock import wall_clock_ms

    now = wall_clock_ms()
    try:
        until = parse_time(text) if "T" in text or "-" in text else now + TypeAdapter(Duration).validate_python(text)
    except (ValidationError, ValueError):
        example = "2026-12-24T18:00:00Z, or 2h, or 7d"
        raise CommandError(f"--until {text!r} is no time; it is like {example}") from None
    if until <= now:
        raise CommandError(f"--until {text!r} is over already")
    return until


def masking_of(settings: Settings, policy: Policy, reveal: bool) -> Mask:
    """What is shown of values: those of personal fields are masked, unless they are to be revealed."""
    from streams.masking import masked

    def mask(key: str, field: str, value: str) -> str:
        personal = field in policy.of(key.partition(":")[0]).personal
        return masked(value, settings.masking_key) if personal and not reveal else value

    return mask


def command_about(
    kind: Literal["resolve", "pin", "release", "undo"], key: str, field: str, name: str | None, **more: Any
) -> Command:
    """A command of a person about a field. Raises CommandError."""
    from uuid import uuid4

    from pydantic import ValidationError

    from schemas.command import Command
    from syncline.hybrid_clock import wall_clock_ms

    check_key(key)
    entity_type, _, entity_id = key.partition(":")
    head = {"command_id": str(uuid4()), "kind": kind, "entity_type": entity_type, "entity_id": entity_id}
    told = {"requested_by": steward(name), "requested_at": wall_clock_ms(), "field": field, **more}
    try:
        return Command.model_validate({**head, **told})
    except ValidationError as error:
        raise CommandError(error.errors(include_url=False, include_input=False)[0]["msg"]) from None


def report(
    settings: Settings, policy: Policy, commands: Sequence[Command], timeout: float, mask: Mask, output: Output
) -> None:
    """Have commands carried out and say what became of each; exit code 1 if any was not."""
    from syncline.outcomes import carry_out

    outcomes = run(settings, carry_out(settings, commands, timeout)) if commands else []
    told = [_as_json(outcome, policy, mask) for outcome in outcomes]
    if output is Output.json:
        write_json({"outcomes": told})
    else:
        rows = [
            (shown(one["key"]), shown(one["field"]), _state(outcome), shown(_said(one)), one["decision"])
            for one, outcome in zip(told, outcomes, strict=True)
        ]
        write_table(["key", "field", "outcome", "now", "decision"], rows)
    if any(outcome.state != "decided" for outcome in outcomes):
        raise typer.Exit(1)


def _state(outcome: Outcome) -> str:
    if outcome.state == "refused":
        return f"refused, {outcome.reason}: {shown(outcome.message)}"
    if outcome.state == "unanswered":
        return "no worker took it in time; it stays in topic commands"
    return "decided, not resolved yet" if outcome.state == "unresolved" else "decided"


def _said(told: dict[str, Any]) -> str:
    if "value" not in told:
        return ""
    standing = " (conflict)" if told["contested"] else ""
    standing = " (provisional, waits for a person)" if told["pending"] else standing
    return ("absent" if told["value"] is None else canonical(told["value"])) + standing


def _as_json(outcome: Outcome, policy: Policy, mask: Mask) -> dict[str, Any]:
    from streams.explain import explain

    command = outcome.command
    told: dict[str, Any] = {
        "conflict_id": command.conflict_id,
        "decision": command.command_id,
        "field": command.field,
        "key": command.key,
        "outcome": outcome.state,
    }
    if outcome.state == "refused":
        told |= {"reason": outcome.reason, "message": outcome.message}
    if outcome.entity is not None:
        now = next(
            (o for o in explain(outcome.entity, policy.of(command.entity_type)) if o.field == command.field), None
        )
        value = None if now is None or now.value is None else parse(mask(command.key, now.field, now.value))
        told |= {"contested": bool(now and now.contested), "pending": bool(now and now.pending), "value": value}
    return told
