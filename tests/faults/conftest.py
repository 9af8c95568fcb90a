"""The report of the fault tests: printed after each run, written to docs/reliability.md when asked for."""

from __future__ import annotations

import os

import pytest

from tests.faults.report import Report

REPORT = pytest.StashKey[Report]()
# Taken out of the environment: a worker refuses a SYNCLINE_* name that is no setting of it.
WRITE = os.environ.pop("SYNCLINE_WRITE_REPORT", "") == "1"


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Where each test adds its row."""
    return pytestconfig.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of this run, and write it when SYNCLINE_WRITE_REPORT=1."""
    report = config.stash.get(REPORT, None)
    if report is None or not report.rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(report.table())
    if WRITE:
        report.write()
