"""A policy's functions, checked before they decide anything; what passed is remembered, so that a start stays quick."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from agents.config_file import load_policy, read_config
from agents.user_functions import functions_beside
from schemas.policy_document import PolicyError, customs, read_document
from streams.resolvers.custom import UserFunction

log = logging.getLogger(__name__)

#: Raised when the check itself changes, so that what passed an older one is checked again.
CHECK = 1


@dataclass(frozen=True, slots=True)
class Used:
    """A function and a field that it decides."""

    function: UserFunction
    entity_type: str
    field: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of a check. counter_example: a file of policy tests, empty where it passed."""

    said: str
    counter_example: str = ""


def functions_of(path: str | None) -> list[Used]:
    """The functions that a policy file names, each once. Raises PolicyError."""
    find, used = functions_beside(path), {}
    load_policy(path)  # what cannot be loaded is refused with its place
    for name, entity_type, field in customs(read_document(read_config(path))):
        used.setdefault(name, Used(find(name), entity_type, field))
    return list(used.values())


def examine(used: Used, path: str | None) -> Examined:
    """Run the convergence check. Raises PolicyError where it cannot run."""
    try:
        from agents.convergence import Diverges, as_policy_test, check
    except ImportError as error:
        raise PolicyError(f"functions are checked with Hypothesis: pip install 'syncline[custom]' ({error})") from None
    try:
        checked = check(used.function, used.entity_type, used.field)
    except Diverges as found:
        shown = (
            as_policy_test(used.function.name, found, load_policy(path), used.field) if found.history else found.problem
        )
        return Examined(found.problem, shown)
    _remember(used.function)
    failed = f", {checked.failed} of them without an answer: such fields are pending" if checked.failed else ""
    return Examined(f"converges; it was asked {checked.asked} times{failed}")


def unchecked(path: str | None) -> list[Used]:
    """The functions of a policy file whose code has not passed the check on this machine. Raises PolicyError."""
    return [used for used in functions_of(path) if not _passed(used.function).exists()]


def require_converging(path: str | None) -> None:
    """Check the functions that have not passed yet. Raises PolicyError with the counter-example."""
    for used in unchecked(path):
        log.info("Checking that %s converges; this is done once for its code", used.function.name)
        examined = examine(used, path)
        if examined.counter_example:
            raise PolicyError(f"{path}: {used.function.name} {examined.said}\n{examined.counter_example}")


def _passed(function: UserFunction) -> Path:
    """The file that is there if this code passed this check under this Python."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    text = f"{CHECK} {platform.python_version()} {function.name} {function.code}"
    return Path(home) / "syncline" / f"converges-{sha256(text.encode()).hexdigest()[:32]}"


def _remember(function: UserFunction) -> None:
    passed = _passed(function)
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    except OSError as error:
        log.warning("It cannot be remembered that %s converges: %s", function.name, error.strerror)
