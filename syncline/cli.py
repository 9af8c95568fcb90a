"""The command line (SPEC section 7). What a command needs is imported inside it, so that help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer.core import TyperGroup

from syncline.commands import (
    compare,
    config,
    conflicts,
    health,
    history,
    ingest,
    journal,
    look,
    pin,
    policy,
    policy_change,
    publish,
    show,
    targets,
    workers,
)
from syncline.terminal import CommandError, say

EXAMPLES = """\
  syncline demo     # sources that disagree: who won and why, and the proof that every place holds the same
  syncline up       # broker, Redis and a worker on this machine, to publish your own changes to
"""


class OneLineErrors(TyperGroup):
    """A group of commands that says every mistake in one line, without a traceback."""

    def main(self, args: Sequence[str] | None = None, **given: Any) -> Any:  # type: ignore[override]
        """Run a command line and end the process with its code."""
        given["standalone_mode"] = False
        try:
            code = super().main(args, **given)
        except CommandError as error:
            say(f"syncline: {error}")
            sys.exit(1)
        except NoArgsIsHelpError as error:
            say(error.format_message())
            sys.exit(error.exit_code)
        except ClickException as error:
            context = getattr(error, "ctx", None)
            path = "syncline" if context is None else context.command_path
            say(f"{path}: {' '.join(error.format_message().split())} See {path} --help")
            sys.exit(error.exit_code)
        except typer.Abort:
            say("syncline: aborted")
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def get_help(self, ctx: Any) -> str:
        """The help, with examples that run before everything else."""
        return f"{EXAMPLES}\n{super().get_help(ctx)}"


app = typer.Typer(
    name="syncline",
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(show.demo)
app.command()(workers.up)
app.command()(workers.worker)
app.command()(workers.deliver)
app.command()(publish.publish)
app.command()(look.get)
app.command()(look.explain)
app.command()(history.history)
app.command()(compare.export)
app.command()(compare.digest)
app.command()(compare.wait)
app.command()(health.doctor)
app.command(name="force-sync")(publish.force_sync)
app.command()(publish.invalidate)
app.command()(targets.sync)
app.command()(targets.backfill)

delivery = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look after the delivery of golden records.")
for command in (targets.status, targets.pending, targets.clear_pending, targets.pause, targets.resume, targets.skip):
    delivery.command(name=command.__name__.replace("_", "-"))(command)
delivery.command()(targets.mode)
app.add_typer(delivery, name="targets")

letters = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="What a target refused.")
letters.command(name="list")(targets.list_letters)
letters.command(name="show")(targets.show_letter)
letters.command(name="edit")(targets.edit_letter)
letters.command(name="redrive")(targets.redrive)
letters.command(name="drop")(targets.drop_letter)
delivery.add_typer(letters, name="dead-letters")
app.command()(pin.pin)
app.command()(pin.unpin)

inbox = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="See, explain and decide conflicts.")
inbox.command(name="list")(conflicts.list_)
inbox.command()(conflicts.show)
inbox.command()(conflicts.resolve)
inbox.command()(conflicts.defer)
inbox.command()(conflicts.reopen)
inbox.command()(conflicts.undo)
app.add_typer(inbox, name="conflicts")

configuration = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Check and show syncline.yaml.")
configuration.command()(config.lint)
configuration.command()(config.show)
configuration.command()(config.schema)
app.add_typer(configuration, name="config")

rules = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Try a policy, and change that of workers which run."
)
rules.command()(policy.test)
rules.command(name="diff")(policy_change.diff)
rules.command()(policy_change.apply)
rules.command()(policy_change.withdraw)
rules.command()(policy_change.status)
rules.command()(policy.check)
app.add_typer(rules, name="policy")

arrivals = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Sources with a topic or stream of their own.")
arrivals.command()(ingest.status)
app.add_typer(arrivals, name="ingest")

change_log = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The change log, and where it is kept.")
for command in (
    journal.status,
    journal.switch,
    journal.changes,
    journal.conflicts,
    journal.stats,
    journal.cleanup,
):
    change_log.command()(command)
app.add_typer(change_log, name="journal")

view = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look after the Redis view.")
view.command()(health.rebuild)
app.add_typer(view, name="view")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(version("syncline"))
        except PackageNotFoundError:
            print("not installed: run from its sources")
        raise typer.Exit


@app.callback()
def syncline(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One golden record per entity from many sources: conflicts are found, decided by policy, and explained."""


if __name__ == "__main__":
    app(prog_name="syncline")
