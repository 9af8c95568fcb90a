"""`doctor` and `view rebuild`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from syncline.commands.options import OutputOption, with_settings
from syncline.terminal import Output, need_redis, run, write_json, write_lines

if TYPE_CHECKING:
    from agents.settings import Settings


@with_settings
def doctor(settings: Settings, output: OutputOption = Output.table) -> None:
    """Check broker, topics, Redis, change log, clock, sources, targets: one line each; exit code 1 on any failure."""
    from syncline.diagnosis import examine

    findings = run(settings, examine(settings))
    if output is Output.json:
        write_json([finding._asdict() for finding in findings])
    else:
        width = max(len(finding.part) for finding in findings)
        write_lines(
            f"{'ok  ' if finding.ok else 'FAIL'} {finding.part:{width}} {finding.detail}" for finding in findings
        )
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@with_settings
def rebuild(settings: Settings) -> None:
    """Drop every key of the view; running workers fill it again from `records`."""
    from agents.names import TopicNames
    from agents.view import RedisView

    names = TopicNames.with_prefix(settings.topic_prefix)
    url = need_redis(settings)

    async def work() -> int:
        view = RedisView(url, names.records, names.changes, timeout_seconds=10.0)
        try:
            return await view.rebuild()
        finally:
            await view.close()

    write_json({"dropped_keys": run(settings, work())})
