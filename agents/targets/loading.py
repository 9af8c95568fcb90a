"""From a target's section of syncline.yaml to the target: one of ours, or a user's own by entry point."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from agents.targets.target import Target, TargetUnusable
from schemas.suggestion import suggestion
from schemas.target_document import (
    OURS,
    CustomDocument,
    HttpDocument,
    JsonLinesDocument,
    KafkaDocument,
    PostgresqlDocument,
    RedisStreamDocument,
    TargetDocument,
    variables,
)

GROUP: Final = "syncline.targets"


def load_target(name: str, said: TargetDocument, environment: Mapping[str, str] = os.environ) -> Target:
    """Make the target of a section; it is not opened. environment: where the variables with secrets are.

    Raises TargetUnusable: the kind is not known or not installed, a variable is not set, or what a user's own entry
    point makes is no target. What one target needs is imported only if there is one.
    """
    try:
        secrets = {key: _secret(key, variable, environment) for key, variable in variables(said).items()}
        return _made(name, said, secrets)
    except TargetUnusable as error:
        raise TargetUnusable(f"targets.{name}.{error}") from error.__cause__


def _secret(key: str, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable)
    if not value:
        raise TargetUnusable(f"{key}: the environment variable {variable} is not set")
    return value


def _made(name: str, said: TargetDocument, secrets: Mapping[str, str]) -> Target:
    secret = secrets.get("secret_env")
    match said:
        case HttpDocument():
            from agents.targets.http import HttpTarget

            return HttpTarget(said, secret, {header: secrets[f"headers_env.{header}"] for header in said.headers_env})
        case PostgresqlDocument():
            try:
                from agents.targets.postgresql import PostgresqlTarget
            except ImportError as error:
                raise TargetUnusable(f"kind: {error.name} is missing: pip install 'syncline[postgresql]'") from None
            return PostgresqlTarget(name, said, secret)
        case KafkaDocument():
            from agents.targets.kafka import KafkaTarget

            return KafkaTarget(said)
        case RedisStreamDocument():
            from agents.targets.redis_stream import RedisStreamTarget

            return RedisStreamTarget(said, secret)
        case JsonLinesDocument():
            from agents.targets.json_lines import JsonLinesTarget

            return JsonLinesTarget(said)
        case CustomDocument():
            return _custom(name, said, secret)
    raise AssertionError(f"a kind without a target: {type(said).__name__}")


def entry_point(said: CustomDocument) -> EntryPoint:
    """What a user's own target is made by. Raises TargetUnusable: nothing of that name is installed."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if said.kind not in found:
        raise TargetUnusable(f"kind: {said.kind!r} is not known; {suggestion(said.kind, {*OURS, *found})}")
    return found[said.kind]


def _custom(name: str, said: CustomDocument, secret: str | None) -> Target:
    """Call `make(name=…, settings=…, secret=…)` of the entry point that the kind names."""
    point = entry_point(said)
    try:
        made = point.load()(name=name, settings=said.settings, secret=secret)
    except TargetUnusable:
        raise
    except Exception as error:  # it is not ours
        raise TargetUnusable(f"kind: {point.value} raised {type(error).__name__}: {error}") from error
    lacking = complaints(made)
    if lacking:
        raise TargetUnusable(f"kind: what {point.value} makes is no target: {'; '.join(lacking)}")
    assert isinstance(made, Target)
    return made


def complaints(made: object) -> list[str]:
    """What an object lacks to be a `Target`, [] for one."""
    lacking = [] if isinstance(getattr(made, "healthy", None), bool) else ["it needs `healthy`, true or false"]
    for method, arguments in (("open", ()), ("deliver", ((),)), ("close", ())):
        call = getattr(made, method, None)
        if not inspect.iscoroutinefunction(call):
            lacking.append(f"it needs `async def {method}`")
            continue
        try:
            inspect.signature(call).bind(*arguments)
        except TypeError as error:
            lacking.append(f"`{method}` must take {'a batch' if arguments else 'nothing'}: {error}")
    return lacking
