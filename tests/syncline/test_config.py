"""syncline.yaml before it goes live: checked whole, shown with where each value comes from, described for editors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.settings import Settings, SettingsError, load_settings
from tests.laws.test_policy import SPEC_EXAMPLE
from tests.syncline.test_cli import invoke


def written(directory: Path, text: str) -> str:
    """The path of a file that says this."""
    file = directory / "syncline.yaml"
    file.write_text(text)
    return str(file)


def test_lint_passes_the_example_of_the_contract(tmp_path: Path) -> None:
    """A file without a mistake: code 0, its policy's version, and no remark."""
    code, out, err = invoke("config", "lint", written(tmp_path, SPEC_EXAMPLE))
    assert (code, err) == (0, "")
    assert out.startswith("ok: policy ")
    assert "rules for 1 entity types" in out


def test_lint_names_every_mistake_with_its_place(tmp_path: Path) -> None:
    """Not only the first mistake is told, each in one line, with what would be right; the code is 1."""
    text = "resolvr: max\nmax_future: soon\nentities:\n  customer:\n    fields: {tier: {resolver: best}}"
    file = written(tmp_path, text)
    code, out, err = invoke("config", "lint", file)
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"{file}:1: policy, top: unknown key 'resolvr'; did you mean 'resolver'?",
        f"{file}:2: policy, max_future: 'soon' must be a time such as 500ms, 1s, 5m, 2h or 1d",
        f"{file}:5: policy, entities.customer.fields.tier.resolver: 'best' is not known; it must be one of authority,"
        " first_update_wins, forward_only, keep_siblings, last_update_wins, longest, manual, max, min, source_priority,"
        " stock, sum, trust, union",
    ]


RULES = """
sources: {crm: {}, web: {}}
entities:
  customer:
    fields:
      tier: {resolver: source_priority, order: [crn]}
      tags:
        type: string
        resolver: union
    field_groups:
      postal: {fields: [street], resolver: sum}
  order:
    field_groups: {a: [b], b: [a]}
"""


def test_lint_names_every_contradiction_with_its_line(tmp_path: Path) -> None:
    """Rules that are no rules although their keys are right are told all at once, too, in the order of the file."""
    file = written(tmp_path, RULES)
    code, out, err = invoke("config", "lint", file)
    assert (code, out) == (1, "")
    told = [line.removeprefix(f"{file}:").split(": ", 2)[::2] for line in err.splitlines()]
    assert [(int(number), problem.split(";")[0]) for number, problem in told] == [
        (6, "unknown source 'crn'"),
        (8, "'union' takes array, and no string"),
        (11, "'sum' does not pick one write, so it cannot decide a group"),
        (13, "'b' is a group itself"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("worker: {partitons: 4}", "worker: 'partitons' is no setting; did you mean 'partitions'?"),
        ("worker: {partitions: 0}", "worker.partitions: Input should be greater than or equal to 1"),
        ("worker: redis://ana:tell-nobody@cache", "policy, worker: it must be a mapping of settings"),
        ("priority: [a\n", "is not YAML"),
        ("journal: {store: main}", "policy, journal: store: 'main' is not among the stores; none is declared"),
        ("sources: {crm: {}}\npriority: [crn]", "policy, priority: unknown source 'crn'; did you mean 'crm'?"),
    ],
)
def test_lint_refuses(text: str, problem: str, tmp_path: Path) -> None:
    """A file that workers would not start with."""
    code, _, err = invoke("config", "lint", written(tmp_path, text))
    assert code == 1
    assert problem in err
    assert "tell-nobody" not in err


def test_lint_remarks_on_ranks_without_an_order(tmp_path: Path) -> None:
    """What is allowed and hardly meant is said, and is no failure."""
    code, _, err = invoke("config", "lint", written(tmp_path, "entities: {a: {fields: {x: {resolver: authority}}}}"))
    assert code == 0
    assert "entities.a.fields.x: authority has no order, and there is no priority: the latest write wins" in err


def test_lint_remarks_on_a_function_that_was_not_seen_to_converge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would check it at its start; here one is told how to do it before, and not once that is done."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = "tests.agents.some_resolvers:best_level"
    file = written(tmp_path, f"entities: {{a: {{fields: {{x: {{custom: '{name}'}}}}}}}}")
    code, _, err = invoke("config", "lint", file)
    assert code == 0
    assert f"entities.a: {name} was not yet seen to converge here: syncline policy check" in err
    assert invoke("policy", "check", file)[0] == 0
    assert invoke("config", "lint", file)[2] == ""


def test_lint_of_no_file() -> None:
    """Without a file there is nothing to check, and that is a mistake."""
    code, _, err = invoke("config", "lint")
    assert (code, "SYNCLINE_CONFIG" in err) == (1, True)


def test_defaults_then_file_then_environment_then_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC section 7: each overrides those before it, and `config show` says which one it was."""
    file = written(tmp_path, "worker: {partitions: 3, kafka: 'file:1', app_id: of_file}\nmax_future: 5s")
    monkeypatch.setenv("SYNCLINE_CONFIG", file)
    monkeypatch.setenv("SYNCLINE_KAFKA", "environment:1")
    settings = load_settings(app_id="flag")
    assert (settings.app_id, settings.kafka, settings.partitions) == ("flag", "environment:1", 3)
    code, out, _ = invoke("config", "show", "-o", "json")
    shown = {row["name"]: (row["value"], row["from"]) for row in json.loads(out)["settings"]}
    assert code == 0
    assert shown["worker.kafka"] == ("environment:1", "SYNCLINE_KAFKA")
    assert shown["worker.partitions"] == (3, f"{file}: worker")
    assert shown["worker.web_port"] == (6066, "default")
    assert shown["max_future"] == (5_000, file)
    assert shown["convergence_window"] == (1_000, "default")


def test_show_masks_passwords(tmp_path: Path) -> None:
    """A password in a URL is shown nowhere."""
    file = written(tmp_path, "worker: {redis: 'redis://ana:tell-nobody@cache:6379/0'}")
    for form in ("table", "json"):
        _, out, err = invoke("config", "show", "--config", file, "-o", form)
        assert "tell-nobody" not in out + err
        assert "ana:***@cache:6379/0" in out


def test_a_worker_refuses_a_file_it_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there is named."""
    monkeypatch.setenv("SYNCLINE_CONFIG", "/nowhere/syncline.yaml")
    with pytest.raises(SettingsError, match=r"/nowhere/syncline.yaml: No such file"):
        load_settings()


def test_the_worker_section_is_no_part_of_the_policy(tmp_path: Path) -> None:
    """Another broker is no other policy: the version stays."""
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.write_text(SPEC_EXAMPLE)
    other.write_text(SPEC_EXAMPLE + "worker: {kafka: 'elsewhere:9092'}\n")
    assert invoke("config", "lint", str(plain))[1] == invoke("config", "lint", str(other))[1]


def test_schema_has_every_key() -> None:
    """Editors know all keys: those of the policy, and the settings below `worker`."""
    code, out, _ = invoke("config", "schema")
    schema = json.loads(out)
    assert code == 0
    assert set(schema["properties"]["worker"]["properties"]) == set(Settings.model_fields) - {"config", "personal_key"}
    assert {"priority", "sources", "entities", "view", "limits"} < set(schema["properties"])
    groups = schema["$defs"]["EntityDocument"]["properties"]["field_groups"]["additionalProperties"]["anyOf"]
    assert [form.get("$ref", form.get("type")) for form in groups] == ["#/$defs/GroupDocument", "array"]


TARGETS = """
entities: {customer: {}}
targets:
  crm:
    kind: http
    url: http://crm.example/records
    headers_env: {Authorization: CRM_TOKEN}
    entities: {custommer: {where: {tier: gold, vip: [true]}}}
  lake: {kind: acme, settings: {url: 'acme://ana:tell-nobody@host', others: ['acme://eve:tell-nobody@host']}}
"""


def test_lint_looks_at_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that nobody installed is a mistake; what is hardly meant is remarked upon."""
    code, _, err = invoke("config", "lint", written(tmp_path, TARGETS))
    assert code == 1
    assert "targets.lake.kind: 'acme' is not known; it must be one of http, json_lines, kafka, postgresql" in err
    monkeypatch.delenv("CRM_TOKEN", raising=False)
    code, _, err = invoke("config", "lint", written(tmp_path, TARGETS[: TARGETS.index("  lake")]))
    assert code == 0, err
    assert "targets.crm.headers_env.Authorization: the environment variable CRM_TOKEN is not set here" in err
    assert "targets.crm.entities: there are no rules for 'custommer'; did you mean 'customer'?" in err
    assert "targets.crm.url: neither https nor signed" in err


def test_show_has_targets_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a secret the name of its variable is shown, and of a URL no password."""
    monkeypatch.setenv("CRM_TOKEN", "tell-nobody")
    file = written(tmp_path, TARGETS)
    code, out, err = invoke("config", "show", "--config", file, "-o", "json")
    shown = {row["name"]: (row["value"], row["from"]) for row in json.loads(out)["settings"]}
    assert (code, "tell-nobody" in out + err) == (0, False)
    assert shown["targets.crm.headers_env.Authorization"] == ("CRM_TOKEN", file)
    assert shown["targets.crm.entities.custommer.where.tier.one_of"] == (["gold"], file)
    assert shown["targets.crm.method"] == ("POST", "default")
