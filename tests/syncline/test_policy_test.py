"""Tests of a policy: the command and the pytest plugin say the same, and say what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.syncline.test_cli import invoke

POLICY = """
priority: [crm, billing, web]
sources: {crm: {}, billing: {}, web: {}}
entities:
  customer:
    fields:
      tier: {resolver: source_priority, order: [billing, crm]}
      email: {resolver: manual}
"""
GOOD = """
tests:
  - name: billing decides the tier, whoever wrote last
    changes:
      - {source: billing, key: "customer:42", fields: {tier: gold, name: Ada}}
      - {source: crm, key: "customer:42", fields: {tier: silver, name: Ada L.}}
    expect:
      records:
        customer:42: {fields: {tier: gold, name: Ada L.}, won_by: {tier: billing}, contested: [tier], pending: []}
      conflicts: [{field: tier, kind: update_origin_differs, outcome: keep_local, winner: billing}]
  - name: who is not declared is refused, and a deleted customer is gone
    changes:
      - {source: shop, key: "customer:1", fields: {tier: gold}}
      - {source: web, key: "customer:2", fields: {email: a}}
      - {source: web, key: "customer:2", op: delete, seen: {web: 1}}
    expect: {records: {customer:1: null, customer:2: null}, refused: [unknown_source], conflicts: []}
"""
CHANGES = """
tests:
  - name: a case
    changes:
      - {source: crm, key: "customer:42", at: 1s, fields: {email: a}}
      - {source: web, key: "customer:42", at: 1s, fields: {email: b}}
    expect: """
WRONG = {
    "{records: {customer:42: {fields: {email: b}}}}": 'customer:42 email is "a" (of crm@1), expected "b"',
    "{records: {customer:42: {fields: {email: a, tier: 1}}}}": "customer:42 tier is absent, expected 1",
    "{records: {customer:42: {won_by: {email: web}}}}": "customer:42 email was won by crm, expected web",
    "{records: {customer:42: {pending: []}}}": "customer:42 pending is ['email'], expected []",
    "{records: {customer:42: null}}": "customer:42 exists, expected it deleted or never written",
    "{records: {customer:7: {}}}": "customer:7 is deleted or never was, expected a record",
    "{conflicts: []}": "1 conflicts, expected 0: customer:42 email ambiguous_order pending",
    "{conflicts: [{field: email, kind: insert_exists}]}": "conflict 1: kind is ambiguous_order, expected insert_exists",
    "{refused: [clock_skew]}": "refused are [], expected ['clock_skew']",
}


def written(directory: Path, tests: str) -> str:
    """The path of a file of tests with the policy beside it."""
    (directory / "syncline.yaml").write_text(POLICY)
    file = directory / "customer.policy-test.yaml"
    file.write_text(tests)
    return str(file)


def test_what_is_as_expected_passes(tmp_path: Path) -> None:
    """Records, winners, conflicts and refusals as a policy decides them: code 0."""
    code, out, err = invoke("policy", "test", written(tmp_path, GOOD))
    assert (code, err) == (0, "")
    assert out.endswith("2 passed, 0 failed\n")
    assert invoke("policy", "test", str(tmp_path))[1] == out


@pytest.mark.parametrize("expected", WRONG)
def test_what_differs_is_told(expected: str, tmp_path: Path) -> None:
    """Each difference in one line, with what is and what was expected; the code is 1."""
    code, out, _ = invoke("policy", "test", written(tmp_path, CHANGES + expected))
    assert code == 1
    assert WRONG[expected] in out


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("tests: [{name: x, changes: [{source: crm}], expect: {}}]", "tests.0.changes.0.key: Field required"),
        ("tests: [{name: x, changes: [{source: crm, key: c}], expect: {}}]", "'c' is no entity key"),
        ("policy: other.yaml\ntests: []", "other.yaml: No such file"),
        ("tests: [", "is not YAML"),
    ],
)
def test_a_file_that_is_none(tests: str, problem: str, tmp_path: Path) -> None:
    """A mistake in the file itself is named with its place, in one line."""
    code, _, err = invoke("policy", "test", written(tmp_path, tests))
    assert code == 1
    assert problem in err
    assert err.count("\n") == 1


def test_a_change_that_is_none(tmp_path: Path) -> None:
    """A change that nobody could publish fails its test, with the reason."""
    bad = 'tests: [{name: x, changes: [{source: crm, key: "customer:1", op: delete, fields: {a: 1}}], expect: {}}]'
    code, out, _ = invoke("policy", "test", written(tmp_path, bad))
    assert (code, "a change of the test is none: a delete carries 1 fields" in out) == (1, True)


def test_no_file(tmp_path: Path) -> None:
    """A directory without tests is a mistake, and no success."""
    code, _, err = invoke("policy", "test", str(tmp_path))
    assert (code, "no file ends with .policy-test.yaml" in err) == (1, True)


def test_pytest_runs_them_too(tmp_path: Path) -> None:
    """The plugin collects the files: what passes passes, what fails says the difference without a traceback."""
    written(tmp_path, GOOD + CHANGES.replace("tests:\n", "") + "{records: {customer:42: {fields: {email: b}}}}")
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert "1 failed, 2 passed" in done.stdout
    assert 'customer:42 email is "a" (of crm@1), expected "b"' in done.stdout
    assert "Traceback" not in done.stdout
