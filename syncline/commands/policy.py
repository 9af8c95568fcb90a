"""`policy test` and `policy check`: what a policy would decide, before it goes live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syncline.terminal import CommandError, shown, write_lines

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files, or directories to look in; default: this one.")
]

FileArgument = Annotated[str | None, typer.Argument(metavar="[FILE]", help="Default: the one of SYNCLINE_CONFIG.")]


def test(paths: PathsArgument = None) -> None:
    """Run the *.policy-test.yaml files beside a policy: changes in, golden records and conflicts out."""
    from schemas.policy_document import PolicyError
    from syncline.policy_tests import SUFFIX, cases, files_in

    files = [file for path in paths or [Path()] for file in (files_in(path) if path.is_dir() else [path])]
    if not files:
        raise CommandError(f"no file ends with {SUFFIX} in {', '.join(map(str, paths or [Path.cwd()]))}")
    failed = passed = 0
    for file in files:
        try:
            for case in cases(file):
                found = case.complaints()
                failed, passed = failed + bool(found), passed + (not found)
                write_lines([f"{'FAIL' if found else 'ok  '} {file}: {shown(case.test.name)}"])
                write_lines(f"     {shown(line)}" for line in found)
        except PolicyError as error:
            raise CommandError(str(error)) from None
    write_lines([f"{passed} passed, {failed} failed"])
    if failed:
        raise typer.Exit(1)


def check(file: FileArgument = None) -> None:
    """Check that the functions under `custom` converge; the smallest counter-example is printed as a policy test."""
    from agents.checked_functions import examine, functions_of
    from agents.settings import config_path
    from schemas.policy_document import PolicyError

    path = config_path({"config": file})
    if path is None:
        raise CommandError("no file to check: name one, or set SYNCLINE_CONFIG")
    try:
        used = functions_of(path)
        for one in used:
            examined = examine(one, path)
            write_lines([f"{'FAIL' if examined.counter_example else 'ok  '} {one.function.name}: {examined.said}"])
            write_lines(examined.counter_example.splitlines())
            if examined.counter_example:
                raise typer.Exit(1)
    except PolicyError as error:
        raise CommandError(str(error)) from None
    if not used:
        write_lines([f"{path} names no function of yours: nothing to check"])
