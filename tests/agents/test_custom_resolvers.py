"""Functions of users: found, checked before they decide, and never able to stop or to confuse anything."""

from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.checked_functions import functions_of, require_converging
from agents.config_file import load_policy
from agents.convergence import Diverges, check
from agents.user_functions import user_function
from schemas.change import Change
from schemas.codec import encode_change
from schemas.policy_document import PolicyError
from schemas.policy_test import read_tests
from streams.batch import BatchResolver
from streams.policy import Policy
from streams.rehearsal import Arrival, rehearse
from syncline.policy_tests import Case

HERE = "tests.agents.some_resolvers"


def policy_of(tmp_path: Path, function: str, **rules: Any) -> Path:
    path = tmp_path / "syncline.yaml"
    fields = {"tier": {"custom": f"{HERE}:{function}"}}
    path.write_text(yaml.safe_dump({"entities": {"customer": {"fields": fields, **rules}}}))
    return path


def changes(**tier: str) -> list[Change]:
    """A blind write of each source, a second apart."""
    return [
        Change(
            event_id=source,
            entity_type="customer",
            entity_id="1",
            op="update",
            seen=None,
            source=source,
            version=1,
            occurred_at=1_000 * place,
            before=None,
            fields={"tier": value},
        )
        for place, (source, value) in enumerate(tier.items())
    ]


def counts(policy: Policy, log: list[Change]) -> dict[str, int]:
    arrivals = [Arrival(n, 10_000, one.key.encode(), encode_change(one)) for n, one in enumerate(log)]
    return BatchResolver(policy, "changes").resolve_batch(0, arrivals, {}).counts


def test_a_function_decides_where_the_live_writes_differ(tmp_path: Path) -> None:
    """Its write is the value, with its provenance; the conflict names the function."""
    outcome = rehearse(
        load_policy(str(policy_of(tmp_path, "best_level"))), changes(crm="silver", web="gold", app="tin")
    )
    record = outcome.records["customer:1"]
    assert record is not None and record.fields == {"tier": "gold"} and record.pending == []
    assert [one.source for one in record.provenance["tier"]] == ["web"]
    assert outcome.conflicts[-1].resolver == f"custom: {HERE}:best_level"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("broken", "raised KeyError"),
        ("endless", "took too long"),
        ("all_values", "returned neither a write nor a value"),
    ],
)
def test_a_function_that_fails_leaves_the_field_pending(tmp_path: Path, function: str, reason: str) -> None:
    """The field serves the latest value and says that it is pending; the failure is counted with no value in it."""
    policy = load_policy(str(policy_of(tmp_path, function)))
    outcome = rehearse(policy, changes(crm="silver", web="gold"))
    record = outcome.records["customer:1"]
    assert record is not None and (record.fields, record.pending) == ({"tier": "gold"}, ["tier"])
    assert outcome.conflicts[-1].outcome == "pending"
    assert counts(policy, changes(crm="silver", web="gold"))[f"resolver_failed:{reason}:custom: {HERE}:{function}"] == 1


def test_a_function_may_decide_a_group(tmp_path: Path) -> None:
    """The source of the write that it takes wins all contested fields."""
    path = tmp_path / "syncline.yaml"
    group = {"fields": ["tier", "since"], "custom": f"{HERE}:best_level"}
    path.write_text(yaml.safe_dump({"entities": {"customer": {"field_groups": {"g": group}}}}))
    log = changes(crm="gold", web="silver")
    log = [one.model_copy(update={"fields": {**one.fields, "since": one.source}}) for one in log]
    record = rehearse(load_policy(str(path)), log).records["customer:1"]
    assert record is not None and record.fields == {"tier": "gold", "since": "crm"}


def test_other_code_is_another_policy(tmp_path: Path) -> None:
    """The version follows the source text of the function's module, not its path or its time."""
    (tmp_path / "mine_a.py").write_text("def f(writes):\n    return writes[0]\n")
    (tmp_path / "syncline.yaml").write_text("entities: {customer: {custom: 'mine_a:f'}}")
    before = load_policy(str(tmp_path / "syncline.yaml")).version
    assert load_policy(str(tmp_path / "syncline.yaml")).version == before
    (tmp_path / "mine_a.py").write_text("def f(writes):\n    return writes[-1]\n")
    linecache.clearcache()
    importlib.invalidate_caches()
    del sys.modules["mine_a"]
    assert load_policy(str(tmp_path / "syncline.yaml")).version != before


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module:f", "there is no module 'no_such_module'"),
        (f"{HERE}:nothing", "has no function 'nothing'"),
        ("not_installed", "no entry point 'not_installed' of group syncline.resolvers"),
    ],
)
def test_what_cannot_be_loaded_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    """One line names the place and what is missing."""
    path = tmp_path / "syncline.yaml"
    path.write_text(yaml.safe_dump({"entities": {"customer": {"fields": {"tier": {"custom": name}}}}}))
    with pytest.raises(PolicyError, match=r"entities\.customer\.fields\.tier\.custom") as refused:
        load_policy(str(path))
    assert problem in str(refused.value)


def test_what_converges_passes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start checks a function whose code it has not seen, and remembers that it passed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = str(policy_of(tmp_path, "best_level"))
    require_converging(path)
    monkeypatch.setattr("agents.checked_functions.examine", lambda *_: pytest.fail("it was checked again"))
    require_converging(path)
    assert [used.field for used in functions_of(path)] == ["tier"]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("latest", "depends on the order of the list"),
        ("anyone", "answers differently when it is asked again|depends on the order of the list"),
        ("by_hash", "answers differently in another process"),
        ("all_values", "returns a set, which is neither one of the writes nor a JSON value"),
        ("endless", "takes too long"),
    ],
)
def test_what_does_not_converge_is_shown(function: str, problem: str) -> None:
    """Each way not to converge is found, and shown with a history of two changes."""
    with pytest.raises(Diverges, match=problem) as found:
        check(user_function(f"{HERE}:{function}"), "customer", "tier")
    assert len(found.value.history) == 2


def test_a_worker_refuses_it_with_a_test_to_paste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is a file of policy tests about the same policy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = policy_of(tmp_path, "latest")
    with pytest.raises(PolicyError, match="depends on the order") as refused:
        require_converging(str(path))
    pasted = read_tests(yaml.safe_load(str(refused.value).partition("\n")[2]))
    assert Case(pasted.tests[0], load_policy(str(path))).complaints() == []
