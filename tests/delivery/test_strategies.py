"""A mode of one's own is found by its entry point, and a name that nobody has is a mistake of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.delivery.strategies import load_strategy
from agents.targets.target import TargetUnusable
from syncline.cli import app


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
