"""`policy diff`, `apply`, `withdraw` and `status`: another policy for workers that run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncline.commands.options import OutputOption, with_settings
from syncline.terminal import CommandError, Output, run, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from agents.settings import Settings
    from streams.policy import Policy
    from streams.policy_difference import Comparison, Difference, Said
    from syncline.policies import InForce, Progress

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A policy file.")]
ExamplesOption = Annotated[int, typer.Option(min=0, help="How many single differences to show.")]


@with_settings
def diff(
    settings: Settings,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The policy file that is.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The policy file that might come.")],
    examples: ExamplesOption = 5,
    output: OutputOption = Output.table,
) -> None:
    """Say which fields of this deployment's entities would change under another policy; nothing is changed."""
    from syncline.policies import compare

    before, after = read(old), read(new)
    print_comparison(settings, run(settings, compare(settings, before, after, examples)), output)


@with_settings
def apply(
    settings: Settings,
    file: FileArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    examples: ExamplesOption = 5,
    output: OutputOption = Output.table,
) -> None:
    """Have all workers take a policy while they run; it then comes before the files that they have.

    Its other sections (targets, worker and so on) are left alone. How far it is: syncline policy status.
    """
    from agents.checked_functions import require_converging
    from schemas.policy_document import PolicyError
    from streams.lint import remarks
    from syncline import policies

    after = read(file)
    for line in remarks(after):
        say(f"{file}: {line}")
    if dry_run:
        before = run(settings, _in_force(settings)).policy
        print_comparison(settings, run(settings, policies.compare(settings, before, after, examples)), output)
        return

    try:
        require_converging(str(file))
    except PolicyError as error:
        raise CommandError(str(error)) from None

    async def work() -> InForce:
        before = await _in_force(settings)
        await policies.apply(settings, after)
        return before

    _tell_change(run(settings, work()).policy, after, output)


@with_settings
def withdraw(settings: Settings, output: OutputOption = Output.table) -> None:
    """Take back what `policy apply` said: each worker has the policy of its own file again."""
    from agents.config_file import load_policy
    from syncline import policies

    async def work() -> InForce:
        before = await _in_force(settings)
        await policies.apply(settings, None)
        return before

    before = run(settings, work())
    if not before.applied:
        write_lines([f"no policy was applied; policy {before.policy.version} of the file stays"])
        return
    _tell_change(before.policy, load_policy(settings.config), output)


@with_settings
def status(
    settings: Settings,
    wait: Annotated[float, typer.Option(help="Seconds to wait at most until all is done.")] = 0.0,
    output: OutputOption = Output.table,
) -> None:
    """Say of each partition how many of its entities the policy in force has judged; exit code 1 if any is left."""
    from schemas.policy_document import PolicyError
    from syncline import policies

    try:
        now, rows = run(settings, policies.standing(settings, wait))
    except PolicyError as error:
        raise CommandError(str(error)) from None
    if output is Output.json:
        write_json(
            {
                "applied": now.applied,
                "partitions": [{name: getattr(row, name) for name in row.__slots__} for row in rows],
                "version": now.policy.version,
            }
        )
    else:
        origin = "applied" if now.applied else "of the file"
        write_table(
            ("partition", "policy", "judged", "entities", ""),
            [
                (str(r.partition), r.version or "-", str(r.seen), str(r.entities), _word(now.policy.version, r))
                for r in rows
            ],
            title=f"policy {now.policy.version} ({origin})",
        )
    if not policies.all_done(now, rows):
        raise typer.Exit(1)


def read(path: str) -> Policy:
    """The policy of a file. Raises CommandError."""
    from agents.config_file import load_policy
    from schemas.policy_document import PolicyError

    try:
        return load_policy(path)
    except PolicyError as error:
        raise CommandError(f"{error} (all mistakes: syncline config lint {path})") from None


def print_comparison(settings: Settings, comparison: Comparison, output: Output) -> None:
    """What two policies make of the deployment's states."""
    fields = [
        (*place, comparison.values[place], comparison.contested[place], comparison.pending[place])
        for place in comparison.fields()
    ]
    examples = [
        (
            one.key,
            one.field,
            *(_said(settings, comparison, one, said) for said in (one.before, one.after)),
        )
        for one in comparison.examples
    ]
    if output is Output.json:
        names = ("entity_type", "field", "value", "contested", "pending")
        write_json(
            {
                "before": comparison.before.version,
                "after": comparison.after.version,
                "entities": comparison.entities,
                "concerned": comparison.concerned,
                "changed": comparison.changed,
                "fields": [dict(zip(names, row, strict=True)) for row in fields],
                "examples": [dict(zip(("key", "field", "before", "after"), row, strict=True)) for row in examples],
            }
        )
        return
    write_lines(
        [
            f"policy {comparison.before.version} -> {comparison.after.version}: of {comparison.entities} entities"
            f" {comparison.concerned} have other rules, {comparison.changed} would change"
        ]
    )
    if fields:
        columns = ("entity type", "field", "other value", "other contested", "other pending")
        write_table(columns, [(shown(a), shown(b), *map(str, counts)) for a, b, *counts in fields])
    write_lines(f"{shown(key)} {shown(name)}: {shown(old)} -> {shown(new)}" for key, name, old, new in examples)
    _say_guards(comparison.before, comparison.after)


def _said(settings: Settings, comparison: Comparison, one: Difference, said: Said) -> str:
    """What a policy says of a field, a personal value masked."""
    from streams.masking import masked

    entity_type, name = one.key.partition(":")[0], one.field
    personal = any(name in policy.of(entity_type).personal for policy in (comparison.before, comparison.after))
    if name == "*":
        value = "exists" if said.value == "true" else "deleted"
    elif said.value is None:
        value = "absent"
    else:
        value = masked(said.value, settings.masking_key) if personal else said.value
    return f"{value}{' (pending)' if said.pending else ' (contested)' if said.contested else ''}"


def _tell_change(before: Policy, after: Policy, output: Output) -> None:
    from streams.policy_difference import concerned_types

    types = concerned_types(before, after)
    if output is Output.json:
        write_json({"before": before.version, "after": after.version, "entity_types": types})
        return
    what = f"judged anew: {', '.join(types)}" if types else "no entity is decided otherwise"
    write_lines([f"policy {before.version} -> {after.version}; {what}"])
    if types:
        write_lines(["how far it is: syncline policy status"])
    _say_guards(before, after)


def _say_guards(before: Policy, after: Policy) -> None:
    from streams.policy_difference import admits_otherwise

    if admits_otherwise(before, after):
        say("sources, types, max_future and limits hold for changes that come from now on; what was let in stays")


async def _in_force(settings: Settings) -> InForce:
    from schemas.policy_document import PolicyError
    from syncline.policies import in_force

    try:
        return await in_force(settings)
    except PolicyError as error:
        raise CommandError(str(error)) from None


def _word(version: str, row: Progress) -> str:
    if row.version != version:
        return "not begun"
    return "done" if row.done else "under way"
