"""JSON made to be dear: refused with its reason at every door, at a cost that follows its size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.laws.bombs import DOORS, TEXTS

ROOT = Path(__file__).resolve().parents[2]
# Fifty times what was measured (0.1 s; 0.3 s and 30 MiB for each MiB of text), and far below what anything that grows
# with the square of a size would take.
CPU_SECONDS, CPU_SECONDS_EACH_MIB = 5.0, 15.0
PEAK_MIB, PEAK_MIB_EACH_MIB = 64.0, 100.0


@pytest.fixture(scope="module")
def outcomes() -> list[dict[str, Any]]:
    """What became of every bomb at every door, in a process of their own."""
    command = [sys.executable, "-m", "tests.laws.bombs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout[-300:]} {done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_bomb_has_its_reason(outcomes: list[dict[str, Any]]) -> None:
    """Every bomb is refused for what is wrong with it, or taken where nothing is; none ends the process."""
    assert len(outcomes) == len(DOORS) * len(TEXTS)
    assert [outcome for outcome in outcomes if outcome["reason"] != outcome["wanted"]] == []


def test_a_bomb_costs_what_its_size_costs(outcomes: list[dict[str, Any]]) -> None:
    """CPU time and memory stay within a bound that grows with the text alone, and generously so."""
    for outcome in outcomes:
        assert outcome["cpu_seconds"] < CPU_SECONDS + CPU_SECONDS_EACH_MIB * outcome["mib"], outcome
        assert outcome["peak_mib"] < PEAK_MIB + PEAK_MIB_EACH_MIB * outcome["mib"], outcome
