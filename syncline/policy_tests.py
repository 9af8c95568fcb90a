"""Files of policy tests: found beside the policy, run without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from agents.config_file import load_policy
from schemas.policy_document import PolicyError
from schemas.policy_test import PolicyTest, read_tests
from schemas.refusal import Refusal
from streams.policy import Policy
from streams.rehearsal import complaints

#: How the name of such a file ends.
SUFFIX = ".policy-test.yaml"
DEFAULT_POLICY = "syncline.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    """One test with the policy that it is about."""

    test: PolicyTest
    policy: Policy

    def complaints(self) -> list[str]:
        """What is not as expected, a line each."""
        try:
            return complaints(self.test, self.policy)
        except Refusal as refusal:
            return [f"a change of the test is none: {refusal}"]


def cases(file: Path) -> Iterator[Case]:
    """The tests of a file. Raises PolicyError for a file, or a policy, that cannot be read."""
    try:
        tests = read_tests(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise PolicyError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    except PolicyError as error:
        raise PolicyError(f"{file}: {error}") from None
    policy = load_policy(str(file.parent / (tests.policy or DEFAULT_POLICY)))
    for test in tests.tests:
        yield Case(test, policy)


def files_in(directory: Path) -> list[Path]:
    """The files of tests in a directory and below it."""
    return sorted(directory.rglob(f"*{SUFFIX}"))
