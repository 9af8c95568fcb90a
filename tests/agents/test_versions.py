"""A worker refuses what it was not written for, and has no way to run a payload."""

from __future__ import annotations

import subprocess
import sys

import pytest
from faust.serializers import codecs

from agents import versions
from agents.process import remove_pickle


def test_installed_versions_are_the_pinned_ones() -> None:
    """The three packages whose private seams are used are exactly those, with compiled extensions."""
    assert versions.version_faults() == []


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what is installed, what is needed and how to get it."""
    monkeypatch.setitem(versions.PINNED, "aiokafka", "0.1.0")
    assert versions.version_faults() == ["aiokafka 0.14.0 is installed, 0.1.0 is needed: pip install aiokafka==0.1.0"]


def test_without_compiled_streams_it_does_not_start() -> None:
    """Faust's pure-Python streams acknowledge what they skip, so a worker on them ends with code 78."""
    program = "from agents.versions import require_pinned_versions as check; check()"
    done = subprocess.run([sys.executable, "-c", program], env={"NO_CYTHON": "1"}, capture_output=True, text=True)
    assert done.returncode == 78
    assert "NO_CYTHON" in done.stderr


def test_pickle_is_gone() -> None:
    """No setting can select a codec that runs its payload."""
    remove_pickle()
    assert "pickle" not in codecs.codecs
