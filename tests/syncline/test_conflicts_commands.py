"""What people may type wrong when they decide: one line each, before anything is read or sent."""

from __future__ import annotations

import pytest

from streams.entity import Write
from streams.open_conflicts import OpenConflict
from syncline.inbox import filter_of
from tests.syncline.test_cli import invoke

ID = "0123456789abcdef"
RESOLVE = ("conflicts", "resolve", ID)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("conflicts", "resolve", "--take", "crm"), "name one conflict by its id, or many"),
        ((*RESOLVE, "--where", "field=email", "--take", "crm"), "name one conflict by its id, or many"),
        (RESOLVE, "--take SOURCE, or --set FIELD=JSON"),
        ((*RESOLVE, "--take", "crm", "--set", "email=1"), "--take SOURCE, or --set FIELD=JSON"),
        ((*RESOLVE, "--set", "email=a@x"), "text needs quotes: --set 'email=\"a@x\"'"),
        ((*RESOLVE, "--set", "email"), "it is FIELD=JSON"),
        (("conflicts", "list", "--where", "fild=email"), "did you mean 'field'?"),
        (("conflicts", "list", "--where", "kind=ambiguos_order"), "did you mean 'ambiguous_order'?"),
        (("conflicts", "list", "--where", "outcome=apply_remote"), "no such outcome"),
        (("conflicts", "list", "--where", "older=soon"), "'soon' is no time such as"),
        (("conflicts", "defer", ID, "--until", "tomorrow"), "--until 'tomorrow' is no time"),
        (("conflicts", "defer", ID, "--until", "2020-01-01T00:00:00Z"), "is over already"),
        (("pin", "customer:1", "tier", "--until", "0s"), "is over already"),
        (("pin", "customer", "tier", "--until", "1h"), "'customer' is no entity key"),
        (("explain", "customer:1", "--at", "noon"), "--at noon: it is a time such as"),
    ],
)
def test_a_mistake_gets_one_line(arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake is told in one line that says what would be right, without a broker; the code is 1."""
    monkeypatch.setenv("SYNCLINE_KAFKA", "127.0.0.1:1")
    code, out, err = invoke(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert words in err


def conflict(**parts: object) -> OpenConflict:
    """An open conflict, with what the test is about."""
    candidates: list[Write] = []
    whole = {
        "conflict_id": ID,
        "key": "customer:1",
        "field": "email",
        "kind": "ambiguous_order",
        "outcome": "pending",
        "resolver": "manual",
        "value": None,
        "winner": None,
        "candidates": candidates,
        "since": 1_000_000,
        **parts,
    }
    return OpenConflict(**whole)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wheres", "passes"),
    [
        ([], True),
        (["type=customer", "field=email", "kind=ambiguous_order", "outcome=pending", "key=customer:1"], True),
        (["type=order"], False),
        (["field=email", "outcome=rule"], False),
        (["source=crm"], False),
        (["older=1m"], True),
        (["older=1h"], False),
        (["newer=1h"], True),
    ],
)
def test_all_filters_must_hold(wheres: list[str], passes: bool) -> None:
    """Several filters are joined by and; age is counted from the newest write of the conflict."""
    assert filter_of(wheres, 1_000_000 + 120_000)(conflict()) is passes
