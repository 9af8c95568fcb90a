"""A mode of one's own is found by its entry point, and a name that nobody has is a mistake of the file."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.delivery import strategies
from agents.delivery.strategies import load_strategy
from agents.targets.target import TargetUnusable
from streams.sync_modes import Moment
from syncline.cli import app


def in_bulk(settings: dict[str, Any]) -> Any:
    """A user's own: nothing goes before so many wait."""
    return lambda waiting, moment: [item.key for item in waiting] if len(waiting) >= settings["least"] else []


def raising(settings: dict[str, Any]) -> Any:
    """Fails."""
    raise ValueError("no such plan")


def none(settings: dict[str, Any]) -> Any:
    """Makes nothing that decides."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had brought these."""
    points = [EntryPoint(name, f"{__name__}:{name}", strategies.GROUP) for name in ("in_bulk", "raising", "none")]
    monkeypatch.setattr(strategies, "entry_points", lambda group: points)


def test_an_own_mode_decides(installed: None) -> None:
    """It gets its settings, and of what waits it says what goes."""
    strategy = load_strategy("in_bulk", {"least": 1})
    assert list(strategy([], Moment(0))) == []


@pytest.mark.parametrize(
    ("name", "said"), [("raising", "raised ValueError: no such plan"), ("none", "must make a function")]
)
def test_one_that_is_none_is_named(name: str, said: str, installed: None) -> None:
    """With what is wrong with it."""
    with pytest.raises(TargetUnusable, match=f"mode '{name}': .*{said}"):
        load_strategy(name, {})


def test_an_unknown_mode_is_named() -> None:
    """With the one that may have been meant."""
    with pytest.raises(TargetUnusable, match="did you mean 'realtime'"):
        load_strategy("realtme", {})


def test_lint_finds_it(tmp_path: Path) -> None:
    """With its place in the file."""
    file = tmp_path / "syncline.yaml"
    file.write_text("targets: {crm: {kind: json_lines, path: x, delivery: {mode: realtme}}}")
    done = CliRunner().invoke(app, ["config", "lint", str(file)])
    assert done.exit_code == 1
    assert "targets.crm.delivery: mode 'realtme' is not known; did you mean 'realtime'?" in done.stderr
