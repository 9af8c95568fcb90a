"""`config lint`, `config show` and `config schema`: syncline.yaml before it goes live."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
import yaml

from syncline.commands.options import OutputOption, read_policy, read_settings
from syncline.terminal import CommandError, Output, say, shown, write_json, write_lines, write_table

if TYPE_CHECKING:
    from schemas.target_document import TargetDocument

FileArgument = Annotated[str | None, typer.Argument(metavar="[FILE]", help="Default: the one of SYNCLINE_CONFIG.")]


#: Keys of which the value alone will do: of a group, and of a condition.
SHORT_FORMS = ("fields", "one_of", "stream")


def lint(file: FileArgument = None) -> None:
    """Check a file whole: each mistake in a line with its place; exit code 1 if there is any."""
    from agents.checked_functions import unchecked
    from agents.config_file import policy_of, read_config
    from agents.settings import SettingsError, config_path
    from schemas.policy_document import PolicyError, mistakes, read_document
    from streams.lint import contradictions, remarks, target_remarks

    path = config_path({"config": file})
    if path is None:
        raise CommandError("no file to check: name one, or set SYNCLINE_CONFIG")
    try:
        document = read_config(path)
        found = mistakes(document) or contradictions(document, partial(policy_of, path=path))
        if not found:
            policy, targets = policy_of(document, path), read_document(document).targets
            found = unknown_kinds(targets)
            read_settings(config=path)
    except (PolicyError, SettingsError, CommandError) as error:
        found = [str(error)]
    say_in_order(path, found)
    if found:
        raise typer.Exit(1)
    notes = [*remarks(policy), *target_remarks(targets, policy, os.environ)]
    for used in unchecked(path):
        told = f"{used.function.name} was not yet seen to converge here: syncline policy check"
        notes.append(f"entities.{used.entity_type}: {told}")
    say_in_order(path, notes)
    write_lines([f"ok: policy {policy.version}, rules for {len(policy.entities)} entity types, {len(targets)} targets"])


def say_in_order(path: str, lines: list[str]) -> None:
    """Say lines about a file by the place that each begins with, and name the line of the file where that is."""
    from agents.yaml_places import line_of

    try:
        text = Path(path).read_text(encoding="utf-8")
        numbered = [(line_of(text, place_of(line, path)) or 0, line.removeprefix(f"{path}: ")) for line in lines]
    except (OSError, ValueError, yaml.YAMLError):
        numbered = [(0, line.removeprefix(f"{path}: ")) for line in lines]
    for number, line in sorted(numbered, key=lambda one: one[0]):
        say(f"{path}:{number}: {line}" if number else f"{path}: {line}")


def place_of(line: str, path: str) -> str:
    """The place in the file that a line is about; of a key that is not known the key's own."""
    place, _, problem = line.removeprefix(f"{path}: ").removeprefix("policy, ").partition(": ")
    unknown = re.match(r"unknown key '(.*?)';", problem)
    if unknown is None:
        return place
    return unknown[1] if place == "top" else f"{place}.{unknown[1]}"


def unknown_kinds(targets: Mapping[str, TargetDocument]) -> list[str]:
    """A line for each target, and each mode of one, that is neither one of ours nor installed."""
    from agents.delivery import strategies
    from agents.targets.loading import entry_point
    from agents.targets.target import TargetUnusable
    from schemas.delivery_document import MODES
    from schemas.target_document import CustomDocument

    found = []
    for name, said in targets.items():
        try:
            if isinstance(said, CustomDocument):
                entry_point(said)
        except TargetUnusable as error:
            found.append(f"targets.{name}.{error}")
        for mode in dict.fromkeys(one.mode for one in (said.delivery, *said.delivery.rules.values())):
            try:
                if mode not in MODES:
                    strategies.entry_point(mode)
            except TargetUnusable as error:
                found.append(f"targets.{name}.delivery: {error}")
    return found


def show(
    output: OutputOption = Output.table, config: Annotated[str | None, typer.Option(help="the file")] = None
) -> None:
    """Print every setting and rule with its value and where it comes from; passwords are masked."""
    from agents.settings import origins

    settings = read_settings(config=config)
    policy = read_policy(settings)
    from_where = origins(config=config)
    rows = [(f"worker.{name}", masked(value), from_where[name]) for name, value in settings]
    rows += [(place, masked(value), origin) for place, value, origin in policy_rows(settings.config)]
    if output is Output.json:
        told = [{"from": origin, "name": name, "value": value} for name, value, origin in rows]
        write_json({"policy_version": policy.version, "settings": told})
    else:
        write_table(("name", "value", "from"), [(shown(name), shown(as_text(value)), at) for name, value, at in rows])
        write_lines([f"policy {policy.version}"])


def schema() -> None:
    """Print the file's JSON Schema, for editors."""
    from agents.settings import Settings
    from schemas.policy_document import json_schema

    whole = json_schema()
    workers = Settings.model_json_schema()
    properties = {name: part for name, part in workers["properties"].items() if name not in ("config", "personal_key")}
    whole["properties"]["worker"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": properties,
    }
    write_json(whole)


def policy_rows(path: str | None) -> Iterator[tuple[str, Any, str]]:
    """Each value of the policy, by its place in the file: those that the file says, and the defaults of the rest."""
    from agents.config_file import read_config
    from schemas.policy_document import read_document

    document = read_config(path) or {}
    whole = read_document(document).model_dump(exclude={"worker"}, exclude_none=True)
    for place, value in leaves(whole):
        yield (
            ".".join(place),
            masked(value) if isinstance(value, str) else value,
            f"{path}" if said(document, place) else "default",
        )


def leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What is no mapping, or an empty one, with its place."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*place, name))
    else:
        yield place, value


def said(document: Any, place: tuple[str, ...]) -> bool:
    """Whether a file says something at a place; some mappings may be said as what one of their keys is."""
    for name in place:
        if document is not None and not isinstance(document, dict):
            return name in SHORT_FORMS
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def masked(value: Any) -> Any:
    """A setting as it may be shown: a URL without its password, a path as text."""
    if isinstance(value, list):
        return [masked(one) for one in value]
    if value is None or isinstance(value, bool | int | float | dict):
        return value
    if not isinstance(value, str) or "://" not in value:
        return str(value)
    parts = urlsplit(value)
    if parts.password is None:
        return value
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{place}"))


def as_text(value: Any) -> str:
    """A value as a person reads it."""
    return ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
