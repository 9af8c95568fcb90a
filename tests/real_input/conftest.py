"""Tests on 70,755 real edits, which lie outside this project, beside its checkout. Without them: a line, no tests."""

from __future__ import annotations

import os
import sys

import pytest

from tests.real_input.releases import CHANGES

if not CHANGES.exists():
    if os.environ.get("CI"):
        raise pytest.UsageError(f"CI needs the real input: {CHANGES} is not there")
    collect_ignore_glob = ["test_*.py"]
    print(f"no real input ({CHANGES}): its tests are left out", file=sys.stderr)
