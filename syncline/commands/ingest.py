"""`ingest status`: how far the sources are that have a topic or a Redis Stream of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import OutputOption, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_table

if TYPE_CHECKING:
    from agents.settings import Settings

COLUMNS = ("source", "place", "waiting", "per second", "pending", "oldest", "dead", "claimed", "note")


@with_settings
def status(
    settings: Settings,
    output: OutputOption = Output.table,
    seconds: Annotated[float, typer.Option(min=0.0, help="between two looks, for the rate; 0: one look")] = 1.0,
) -> None:
    """For each source: what waits, how quickly it is copied; of a stream what is pending, dead and claimed."""
    from agents.config_file import load_sources
    from agents.ingest.compose import IngestUnusable
    from schemas.policy_document import PolicyError
    from syncline.ingest_status import ingest_status

    try:
        told = run(settings, ingest_status(settings, load_sources(settings.config), seconds))
    except (PolicyError, IngestUnusable) as error:
        raise CommandError(str(error)) from None
    if output is Output.json:
        write_json([one.as_json() for one in told])
    elif not told:
        say("syncline: no source has a topic or a redis_stream in syncline.yaml; their changes come on `changes`")
    else:
        rows = []
        for one in told:
            details = [one.details.get(name) for name in ("pending", "oldest_pending_seconds", "dead", "claimed")]
            cells = [one.source, one.place, one.waiting, one.per_second, *details]
            rows.append([*("-" if cell is None else shown(f"{cell}") for cell in cells), one.note])
        write_table(COLUMNS, rows)
