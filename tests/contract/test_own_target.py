"""The target that docs/targets.md shows as one of your own, under the suite as its author runs it."""

from tests.targets.documented import documented

TestDirectory = documented().TestDirectory
