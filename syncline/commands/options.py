"""Options that many commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from syncline.terminal import CommandError, Output

if TYPE_CHECKING:
    from agents.settings import Settings
    from schemas.target_document import TargetDocument
    from streams.policy import Policy

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table, or json for programs.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Entity key: entity_type:entity_id.")]

#: The settings that every command takes as flags; all are environment variables, too.
FLAGS: dict[str, tuple[type, str]] = {
    "kafka": (str, "host:port of the broker [SYNCLINE_KAFKA]"),
    "redis": (str, "URL of the view's Redis [SYNCLINE_REDIS]"),
    "config": (str, "policy file [SYNCLINE_CONFIG]"),
    "app_id": (str, "consumer group of the workers [SYNCLINE_APP_ID]"),
    "topic_prefix": (str, "in front of every topic's name [SYNCLINE_TOPIC_PREFIX]"),
    "partitions": (int, "of every topic when it is first created [SYNCLINE_PARTITIONS]"),
}


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command, as its argument `settings`, the settings of the environment with its own flags over them."""
    signature = inspect.signature(command)
    # Settings are loaded only when a command runs, and their type is not needed to read a command line.
    hints = get_type_hints(command, localns={"Settings": Any}, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in signature.parameters.items()
        if name != "settings"
    ]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, typer.Option(help=text, show_default=False)],
        )
        for name, (kind, text) in FLAGS.items()
    ]

    @functools.wraps(command)
    def with_flags(**given: Any) -> Any:
        chosen = {name: given.pop(name) for name in FLAGS}
        return command(settings=read_settings(**chosen), **given)

    with_flags.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *flags)}
    return with_flags


def read_settings(**flags: Any) -> Settings:
    """Settings of the environment with flags over them. Raises CommandError."""
    from pydantic import ValidationError

    from agents.settings import SettingsError, load_settings, origins

    try:
        return load_settings(**flags)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    except ValidationError as error:
        # Without the value: a URL may have a password in it.
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        origin = origins(**flags).get(name, "")
        place = f"{origin}.{name}" if origin.endswith(": worker") else f"setting SYNCLINE_{name.upper()}"
        raise CommandError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def read_policy(settings: Settings) -> Policy:
    """The policy that the settings name. Raises CommandError."""
    from agents.config_file import load_policy
    from streams.policy import PolicyError

    try:
        return load_policy(settings.config)
    except PolicyError as error:
        raise CommandError(str(error)) from None


def read_targets(settings: Settings) -> Mapping[str, TargetDocument]:
    """The targets that the file of the settings declares. Raises CommandError."""
    from agents.config_file import load_targets
    from streams.policy import PolicyError

    try:
        return load_targets(settings.config)
    except PolicyError as error:
        raise CommandError(str(error)) from None


async def policy_in_force(settings: Settings) -> Policy:
    """The policy that the deployment's workers have. Raises CommandError."""
    from streams.policy import PolicyError
    from syncline.policies import in_force

    try:
        return (await in_force(settings)).policy
    except PolicyError as error:
        raise CommandError(str(error)) from None


def check_target(settings: Settings, declared: Mapping[str, TargetDocument], name: str) -> TargetDocument:
    """The section of a target. Raises CommandError where it is not declared."""
    from schemas.suggestion import suggestion

    if name in declared:
        return declared[name]
    where = f"{settings.config}: targets" if settings.config else "no file is named (SYNCLINE_CONFIG)"
    raise CommandError(f"{where}: {name!r} is not declared{f'; {suggestion(name, declared)}' if declared else ''}")


def check_key(key: str) -> bytes:
    """An entity key as Kafka has it. Raises CommandError for what cannot be one."""
    entity_type, colon, entity_id = key.partition(":")
    if not (entity_type and colon and entity_id):
        raise CommandError(f"{key!r} is no entity key; it is entity_type:entity_id, for example customer:42")
    return key.encode(errors="surrogateescape")
