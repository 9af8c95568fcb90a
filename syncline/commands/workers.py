"""`worker` and `up`: the processes that resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import read_settings, with_settings

if TYPE_CHECKING:
    from agents.settings import Settings

PortOption = Annotated[int | None, typer.Option(help="Of metrics and probes; 0 for none [SYNCLINE_WEB_PORT]")]
ProcessesOption = Annotated[int | None, typer.Option(help="One for each core [SYNCLINE_PROCESSES]")]
LevelOption = Annotated[str | None, typer.Option(help="Of the log [SYNCLINE_LOG_LEVEL]")]


@with_settings
def worker(
    settings: Settings,
    processes: ProcessesOption = None,
    web_port: PortOption = None,
    log_level: LevelOption = None,
) -> None:
    """Run a worker until SIGTERM or SIGINT; it drains, and ends with code 0.

    With several processes, one that ends by itself ends them all with its code.
    """
    chosen = _with(settings, processes=processes, web_port=web_port, log_level=log_level)
    if chosen.processes > 1:
        from syncline.processes import run_until_stopped, settings_of_each

        raise typer.Exit(run_until_stopped(settings_of_each(chosen)))
    from agents.worker import main

    main(chosen)


@with_settings
def up(settings: Settings, web_port: PortOption = None, log_level: LevelOption = None) -> None:
    """Run broker, Redis and a worker in the foreground, for development; Ctrl-C ends them all.

    A broker or Redis that is configured is used instead. Prints what to export in another shell.
    """
    from syncline.local import run_in_foreground

    raise typer.Exit(run_in_foreground(_with(settings, web_port=web_port, log_level=log_level)))


def _with(settings: Settings, **changed: object) -> Settings:
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return read_settings(**{**given, **{name: value for name, value in changed.items() if value is not None}})
