"""`demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import OutputOption, with_settings
from syncline.terminal import Output

if TYPE_CHECKING:
    from agents.settings import Settings


@with_settings
def demo(
    settings: Settings,
    input: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Your own changes, JSON lines, instead of the story.")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Publish a story of sources that disagree, show who won and why, and verify that all places agree."""
    from syncline.demo import run_demo

    raise typer.Exit(run_demo(settings, input, output))
