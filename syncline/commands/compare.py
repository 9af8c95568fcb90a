"""`export`, `digest`, `wait`: what each place holds, whether all hold the same, and when."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import OutputOption, policy_in_force, read_policy, with_settings
from syncline.terminal import CommandError, Output, need_redis, run, say, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from syncline.places import Digest


class Place(StrEnum):
    """Where golden records are."""

    view = "view"
    records = "records"
    table = "table"
    replay = "replay"


@with_settings
def export(
    settings: Settings,
    place: Annotated[Place, typer.Argument(metavar="PLACE", help="view, records, table, or replay: a fresh fold.")],
) -> None:
    """Print what a place holds now: JSON lines {"contested","fields","key"}, sorted by key."""
    _check(settings, [place])

    async def work() -> None:
        from syncline.places import PLACES

        policy = await policy_in_force(settings)
        lines: list[str] = []
        async for line in PLACES[place.value](settings, policy):
            lines.append(line)
            if len(lines) == 1000:
                write_lines(lines)
                lines.clear()
        write_lines(lines)

    run(settings, work())


@with_settings
def digest(
    settings: Settings,
    places: Annotated[list[Place], typer.Argument(metavar="PLACE...", help="view, records, table, replay.")],
    output: OutputOption = Output.table,
) -> None:
    """Print SHA-256 and count of each place's export; exit code 1 if they differ."""
    _check(settings, places)

    async def work() -> list[Digest]:
        from syncline.places import digest as digest_of

        policy = await policy_in_force(settings)
        return [await digest_of(place.value, settings, policy) for place in places]

    found = run(settings, work())
    if output is Output.json:
        write_json([asdict(row) for row in found])
    else:
        write_table(["place", "count", "sha256"], [(row.place, str(row.count), row.sha256) for row in found])
    if len({row.sha256 for row in found}) > 1:
        hint = "`syncline wait` first, and give SYNCLINE_CONFIG the policy file that the workers have"
        say(f"syncline: {', '.join(row.place for row in found)} differ; {hint}")
        raise typer.Exit(1)


@with_settings
def wait(
    settings: Settings,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
) -> None:
    """Return when every change published so far is resolved and, with Redis configured, visible in the view.

    Exit code 1 when that takes longer than the time-out.
    """
    from syncline.waiting import NotInTime, wait_until_visible

    try:
        run(settings, wait_until_visible(settings, timeout))
    except NotInTime as error:
        raise CommandError(str(error)) from None


def _check(settings: Settings, places: list[Place]) -> None:
    if Place.view in places:
        need_redis(settings)
    read_policy(settings)
