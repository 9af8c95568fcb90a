"""`worker` and `up`: the processes that resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import check_target, read_settings, read_targets, with_settings
from syncline.terminal import CommandError

if TYPE_CHECKING:
    from agents.settings import Settings

PortOption = Annotated[int | None, typer.Option(help="Of metrics and probes; 0 for none [SYNCLINE_WEB_PORT]")]
ProcessesOption = Annotated[int | None, typer.Option(help="One for each core [SYNCLINE_PROCESSES]")]
DELIVERY_PORT = 6070
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
        from syncline.processes import run_until_stopped, workers_of

        raise typer.Exit(run_until_stopped(workers_of(chosen)))
    from agents.worker import main

    main(chosen)


@with_settings
def deliver(
    settings: Settings,
    targets: Annotated[list[str] | None, typer.Argument(metavar="[TARGET]...", help="Default: all declared.")] = None,
    web_port: Annotated[
        int | None, typer.Option(help="Of the first target; 6070 where neither this nor SYNCLINE_WEB_PORT is set")
    ] = None,
    log_level: LevelOption = None,
) -> None:
    """Deliver golden records to targets until SIGTERM or SIGINT, in a process for each.

    One that ends by itself ends them all with its code. Several workers of one target share its partitions.
    """
    declared = read_targets(settings)
    names = targets or list(declared)
    for name in names:
        check_target(settings, declared, name)
    if not names:
        raise CommandError(f"{settings.config or 'no file (SYNCLINE_CONFIG)'}: targets: none is declared")
    chosen = _with(settings, log_level=log_level)
    if web_port is None:
        web_port = settings.web_port if "web_port" in settings.model_fields_set else DELIVERY_PORT
    if len(names) > 1:
        from syncline.processes import couriers_of, run_until_stopped

        raise typer.Exit(run_until_stopped(couriers_of(chosen, names, web_port)))
    from agents.worker import deliver as run_target

    run_target(_with(chosen, web_port=web_port), names[0])


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
