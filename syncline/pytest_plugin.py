"""A pytest plugin: files that end with `.policy-test.yaml` are tests, as `syncline policy test` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.policy_document import PolicyError
from syncline.policy_tests import SUFFIX, Case, cases

# Its tests say what differs, as those of a test module do.
pytest.register_assert_rewrite("syncline.target_conformance")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Called by pytest for each file."""
    if file_path.name.endswith(SUFFIX):
        return PolicyTestModule.from_parent(parent, path=file_path)
    return None


class NotAsExpected(Exception):
    """What a policy decides is not what its test expects."""


class PolicyTestModule(pytest.File):
    """A file of tests."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each test."""
        try:
            for case in cases(self.path):
                yield PolicyTestItem.from_parent(self, name=case.test.name, case=case)
        except PolicyError as error:
            raise self.CollectError(str(error)) from None


class PolicyTestItem(pytest.Item):
    """One test."""

    def __init__(self, *, case: Case, **given: Any) -> None:
        super().__init__(**given)
        self.case = case

    def runtest(self) -> None:
        """Fails with a line for each difference."""
        found = self.case.complaints()
        if found:
            raise NotAsExpected("\n".join(found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The differences, without a traceback."""
        return str(excinfo.value) if excinfo.errisinstance(NotAsExpected) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """File and name."""
        return self.path, 0, self.name
