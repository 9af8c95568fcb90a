"""Which stores of the change log are declared, by the file and by SYNCLINE_CHANGELOG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.journal.loading import JournalError, load_plan, make_store
from agents.journal.memory import MemoryStore
from agents.settings import Settings
from schemas.policy_document import PolicyError, read_document
from streams.policy import parse_policy

JOURNAL = {
    "stores": {
        "main": {"url": "postgresql://ana@db/journal", "secret_env": "JOURNAL_PASSWORD"},
        "small": "memory://",
    }
}
PASSWORD = {"JOURNAL_PASSWORD": "pass@word"}


def settings(tmp_path: Path, journal: Any, **more: Any) -> Settings:
    """Settings whose file has this section."""
    path = tmp_path / "syncline.yaml"
    path.write_text(yaml.safe_dump({"journal": journal}, sort_keys=False))
    return Settings(config=str(path), **more)


def test_nothing_is_declared() -> None:
    """Without a section and a setting there is no change log."""
    assert load_plan(Settings()) is None


def test_the_file_declares_stores(tmp_path: Path) -> None:
    """The first one is begun with, passwords come from the environment, and a store is found by name or URL."""
    plan = load_plan(settings(tmp_path, JOURNAL), PASSWORD)
    assert plan is not None
    assert (plan.first, plan.stores["main"].url) == ("main", "postgresql://ana:pass%40word@db/journal")
    assert plan.named("small").kind == "memory" and isinstance(make_store(plan.named("small")), MemoryStore)
    assert plan.named("postgresql://ana@db/journal") is plan.stores["main"]
    with pytest.raises(JournalError, match="did you mean 'small'"):
        plan.named("smal")


def test_the_setting_declares_one_more(tmp_path: Path) -> None:
    """It is named `changelog`, begun with, and may have its password in it, which no mistake shows."""
    plan = load_plan(settings(tmp_path, JOURNAL, changelog="redis://:hidden@cache/1"), PASSWORD)
    assert plan is not None
    assert (plan.first, sorted(plan.stores)) == ("changelog", ["changelog", "main", "small"])
    with pytest.raises(JournalError) as refused:
        plan.named("redis://:hidden@elsewhere/1")
    assert "hidden" not in str(refused.value)


def test_a_password_that_is_not_set_is_named(tmp_path: Path) -> None:
    """The variable, and where it is asked for."""
    with pytest.raises(JournalError, match=r"journal\.stores\.main\.secret_env: .* JOURNAL_PASSWORD is not set"):
        load_plan(settings(tmp_path, JOURNAL), {})


@pytest.mark.parametrize(
    ("journal", "problem"),
    [
        ({"stores": {"a": "mysql://h/d"}}, "it must be memory://, redis://host:port/0 or postgresql://user@host"),
        ({"stores": {"a": "redis://:hidden@h/0"}}, "a password does not belong in the file"),
        ({"stores": {"a": "memory://"}, "store": "b"}, "'b' is not among the stores; it must be one of a"),
        ({"stores": {"A": "memory://"}}, "a store's name is up to 64 lower case letters"),
        ({"stoers": {}}, "unknown key 'stoers'; did you mean 'stores'?"),
        ({"most_changes": 0}, "must be a whole number above 0"),
    ],
)
def test_mistakes_have_one_line(journal: Any, problem: str) -> None:
    """What, where, what would be right; never a password."""
    with pytest.raises(PolicyError) as refused:
        read_document({"journal": journal})
    assert problem in str(refused.value) and str(refused.value).startswith("policy, journal")
    assert "hidden" not in str(refused.value)


def test_the_change_log_is_no_part_of_the_policy() -> None:
    """Whatever is said of it, who wins is decided under the same version."""
    assert parse_policy({"journal": JOURNAL}).version == parse_policy({}).version
