"""From a section of syncline.yaml to a target, a user's own among them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from agents.targets import loading
from agents.targets.loading import complaints, load_target
from agents.targets.target import Receipt, Target, TargetUnusable
from schemas.policy_document import read_document
from streams.delivery import Delivery

HERE = __name__


class Own:
    """A user's own target."""

    def __init__(self, name: str, settings: dict[str, Any], secret: str | None) -> None:
        self.told = (name, settings, secret)
        self.healthy = True

    async def open(self) -> None:
        """Nothing to do."""

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """Accepts everything."""
        return Receipt()

    async def close(self) -> None:
        """Nothing to do."""


class Lacking:
    """Hardly a target."""

    def __init__(self, **told: Any) -> None:
        pass

    def open(self) -> None:
        """Does not await."""

    async def deliver(self) -> Receipt:
        """Takes nothing."""
        return Receipt()


def raising(**told: Any) -> Target:
    """Fails."""
    raise ValueError("no such lake")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had brought these."""
    sys.modules.setdefault(HERE, sys.modules[Own.__module__])
    points = {"lake": "Own", "pond": "Lacking", "puddle": "raising", "well": "Missing"}
    found = [EntryPoint(name, f"{HERE}:{value}", loading.GROUP) for name, value in points.items()]
    monkeypatch.setattr(loading, "entry_points", lambda group: found)


def load(environment: dict[str, str] | None = None, **said: Any) -> Target:
    """The target `crm` of a section."""
    return load_target("crm", read_document({"targets": {"crm": said}}).targets["crm"], environment or {})


def test_a_target_of_ones_own() -> None:
    """Its entry point gets the target's name, its settings as they stand in the file, and the secret."""
    made = load({"LAKE": "s3cret"}, kind="lake", settings={"depth": 3, "any": ["thing"]}, secret_env="LAKE")
    assert isinstance(made, Own)
    assert made.told == ("crm", {"depth": 3, "any": ["thing"]}, "s3cret")
    assert complaints(made) == []


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("lke", "targets.crm.kind: 'lke' is not known; did you mean 'lake'?"),
        ("htpp", "targets.crm.kind: 'htpp' is not known; did you mean 'http'?"),
        ("puddle", "raising raised ValueError: no such lake"),
        ("well", "Missing raised AttributeError"),
        ("pond", "makes is no target: it needs `healthy`, true or false; it needs `async def open`; `deliver` must take"
         " a batch: too many positional arguments; it needs `async def close`"),
    ],
)  # fmt: skip
def test_what_is_no_target(kind: str, problem: str) -> None:
    """A name that nothing has, what cannot be made, and what lacks something are named with what would be right."""
    with pytest.raises(TargetUnusable) as raised:
        load(kind=kind)
    assert problem in str(raised.value)
    assert str(raised.value).startswith("targets.crm.kind: ")


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with what installs it."""
    monkeypatch.delitem(sys.modules, "agents.targets.postgresql", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(TargetUnusable, match=r"asyncpg is missing: pip install 'syncline\[postgresql\]'"):
        load(kind="postgresql", url="postgresql://host/db", table="t")
