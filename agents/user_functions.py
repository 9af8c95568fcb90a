"""Finds the functions that a policy names under `custom`: by module and name, or as an installed entry point."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from streams.resolvers.custom import Functions, UserFunction

#: Of packaging entry points: name = "package.module:function".
GROUP = "syncline.resolvers"


def functions_beside(path: str | None) -> Functions:
    """Finds functions in what is installed and in modules beside the policy file, which come first."""

    def find(name: str) -> UserFunction:
        directory = str(Path(path or "syncline.yaml").resolve().parent)
        if directory not in sys.path:
            sys.path.insert(0, directory)
        return user_function(name)

    return find


def user_function(name: str) -> UserFunction:
    """The function of this name. Raises LookupError with one line: no such module, name or source."""
    function = _load(_target(name), name)
    return UserFunction(name, function, _code(function, name))


def source_of(function: Callable[..., Any]) -> str:
    """The text of the module that a function is in. Raises OSError, TypeError."""
    return "\n".join(inspect.getsource(sys.modules[function.__module__]).splitlines())


def _target(name: str) -> str:
    if ":" in name:
        return name
    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    if name not in installed:
        there = ", ".join(sorted(installed)) or "none"
        raise LookupError(
            f"no entry point {name!r} of group {GROUP} is installed ({there}); or name package.module:name"
        )
    return installed[name]


def _load(target: str, name: str) -> Callable[..., Any]:
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise LookupError(
            f"{name!r}: there is no module {error.name!r}, neither installed nor beside the file"
        ) from None
    except Exception as error:
        raise LookupError(f"{name!r}: importing {module_name} raised {type(error).__name__}: {error}") from None
    function = getattr(module, attribute, None)
    if not inspect.isfunction(function):
        raise LookupError(f"{name!r}: {module_name} has no function {attribute!r}")
    return function


def _code(function: Callable[..., Any], name: str) -> str:
    """A hash of the module's source: alike on every machine and Python, and another when a line is."""
    try:
        return sha256(f"{function.__qualname__}\n{source_of(function)}".encode()).hexdigest()[:16]
    except (OSError, TypeError):
        raise LookupError(f"{name!r}: its source is not there, so its version cannot be told") from None
