"""The report of the fault tests: joined from all processes of a run, printed, written to docs/ when asked for.

A plugin of `tests/conftest.py`: the process that only hands out tests to others loads no conftest of a folder below.
"""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    pass

REPORT = pytest.StashKey["Report"]()
# Taken out of the environment: a worker refuses a SYNCLINE_* name that is no setting of it.
WRITE = os.environ.pop("SYNCLINE_WRITE_REPORT", "") == "1"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests are run by several processes, each hands over its part of the report."""
    output, report = getattr(session.config, "workeroutput", None), session.config.stash.get(REPORT, None)
    if output is not None and report is not None:
        output["faults"] = pickle.dumps(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a process that has ended reports."""
    given = getattr(node, "workeroutput", {}).get("faults")
    if given is not None:
        theirs = pickle.loads(given)
        node.config.stash.setdefault(REPORT, type(theirs)()).join(theirs)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of this run, and write it when SYNCLINE_WRITE_REPORT=1."""
    report = config.stash.get(REPORT, None)
    if report is None or not report.rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(report.table())
    if WRITE:
        report.write()
