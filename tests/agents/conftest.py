"""A home of states, once of each store."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.states import Home
from tests.agents.homes import HOMES


@pytest.fixture(params=HOMES)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty home of the store in memory, then of the one in RocksDB."""
    return HOMES[request.param](tmp_path)
