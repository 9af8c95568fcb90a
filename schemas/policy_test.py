"""Tests of a policy as people write them beside it: changes in, golden records and conflicts out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from schemas.conflict import Kind, Outcome
from schemas.document import Document, Duration, or_nothing
from schemas.policy_document import PolicyError
from schemas.record import Clock, Op, Version


def _key(value: str) -> str:
    if not all(value.partition(":")):
        raise ValueError(f"{value!r} is no entity key; it is entity_type:entity_id, for example customer:42")
    return value


EntityKey = Annotated[str, AfterValidator(_key)]


class TestedChange(Document):
    """One change; what is left out is what a publisher would fill in."""

    source: str
    key: EntityKey
    op: Op = "update"
    at: Duration | None = Field(None, description="occurred_at since the test's begin; none: a minute after the last")
    version: Version | None = Field(None, description="none: the next of its source and entity")
    seen: Clock | None = None
    before: dict[str, Any] | None = None
    fields: dict[str, Any] = Field({}, description="what it writes, by name")


class ExpectedRecord(Document):
    """What must be true of a golden record; what is left out is not looked at."""

    fields: dict[str, Any] | None = Field(None, description="all of them, by name")
    won_by: dict[str, str] | None = Field(None, description="field -> source of the winner")
    contested: list[str] | None = None
    pending: list[str] | None = None


class ExpectedConflict(Document):
    """What must be true of a conflict record; what is left out is not looked at."""

    field: str
    key: EntityKey | None = None
    kind: Kind | None = None
    outcome: Outcome | None = None
    resolver: str | None = None
    winner: str | None = Field(None, description="source of the winning write")


class Expected(Document):
    """What must come of a test's changes."""

    records: dict[EntityKey, ExpectedRecord | None] = Field({}, description="null: the entity is deleted, or never was")
    conflicts: list[ExpectedConflict] | None = Field(None, description="all of them, in their order; none: any")
    refused: list[str] = Field([], description="reasons, in the order of the changes")


class PolicyTest(Document):
    """One sequence of changes, and what must come of it: the records in whatever order the changes arrive."""

    name: str
    changes: list[TestedChange]
    expect: Annotated[Expected, or_nothing(Expected)]


class PolicyTestFile(Document):
    """A file of tests."""

    policy: str | None = Field(None, description="path from this file; none: syncline.yaml beside it")
    tests: list[PolicyTest]


def read_tests(value: object) -> PolicyTestFile:
    """Check a file's mapping. Raises PolicyError for what is wrong first, with its place."""
    try:
        return PolicyTestFile.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top"
        raise PolicyError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
