"""The engine as it is installed, which may be compiled, does what its sources say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def digest(tree: Path) -> list[str]:
    """What the program prints, with `schemas` and `streams` of that tree."""
    program = ROOT / "tests" / "laws" / "engine_digest.py"
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_is_installed_does_what_the_sources_say(tmp_path: Path) -> None:
    """All effects of a log under every resolver are, byte for byte, those of the interpreted sources."""
    for package in ("schemas", "streams"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    interpreted = digest(tmp_path)
    assert interpreted[0] == "interpreted"
    assert digest(ROOT)[1] == interpreted[1]
