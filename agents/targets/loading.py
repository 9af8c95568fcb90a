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
    DOCUMENTS,
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
    secrets = {
        key: _secret(f"targets.{name}.{key}", variable, environment) for key, variable in variables(said).items()
    }
    match said:
        case JsonLinesDocument():
            from agents.targets.json_lines import JsonLinesTarget

            return JsonLinesTarget(said)
        case HttpDocument():
            from agents.targets.http import HttpTarget

            headers = {header: secrets[f"headers_env.{header}"] for header in said.headers_env}
            return HttpTarget(said, secrets.get("secret_env"), headers)
        case PostgresqlDocument():
            try:
                from agents.targets.postgresql import PostgresqlTarget
            except ImportError as error:
                problem = f"{error.name} is not installed: pip install 'syncline[postgresql]'"
                raise TargetUnusable(f"targets.{name}: {problem}") from None
            return PostgresqlTarget(name, said, secrets.get("secret_env"))
        case KafkaDocument():
            from agents.targets.kafka import KafkaTarget

            return KafkaTarget(said)
        case RedisStreamDocument():
            from agents.targets.redis_stream import RedisStreamTarget

            return RedisStreamTarget(said, secrets.get("secret_env"))
        case CustomDocument():
            return _custom(name, said, secrets.get("secret_env"))
    raise AssertionError(f"a kind without a target: {type(said).__name__}")


def _secret(place: str, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable)
    if not value:
        raise TargetUnusable(f"{place}: the environment variable {variable} is not set")
    return value


def entry_point(name: str, said: CustomDocument) -> EntryPoint:
    """What a user's own target is made by. Raises TargetUnusable: nothing of that name is installed."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if said.kind not in found:
        kinds = {*DOCUMENTS, *found}
        raise TargetUnusable(f"targets.{name}.kind: {said.kind!r} is not known; {suggestion(said.kind, kinds)}")
    return found[said.kind]


def _custom(name: str, said: CustomDocument, secret: str | None) -> Target:
    """Call `make(name=…, settings=…, secret=…)` of the entry point that the kind names."""
    place, point = f"targets.{name}.kind", entry_point(name, said)
    try:
        made = point.load()(name=name, settings=said.settings, secret=secret)
    except TargetUnusable:
        raise
    except Exception as error:  # it is not ours
        raise TargetUnusable(f"{place}: {point.value} raised {type(error).__name__}: {error}") from error
    lacking = complaints(made)
    if lacking:
        raise TargetUnusable(f"{place}: what {point.value} makes is no target: {'; '.join(lacking)}")
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
