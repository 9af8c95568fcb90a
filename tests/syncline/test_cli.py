"""The command line where no broker is needed: help, mistakes, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncline.cli import app

NOBODY = "127.0.0.1:1"


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    result = CliRunner().invoke(app, list(arguments), prog_name="syncline")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_starts_with_two_examples() -> None:
    """The first two lines of the help are commands that run as they stand."""
    code, out, _ = invoke("--help")
    assert code == 0
    first, second = out.splitlines()[:2]
    assert first.split("#")[0].split() == ["syncline", "demo"]
    assert second.split("#")[0].split() == ["syncline", "up"]
    for command in ("worker", "publish", "get", "explain", "export", "digest", "wait", "doctor", "view"):
        assert f"\n  {command}" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["publsh"], 2, "publsh"),
        (["get"], 2, "KEY"),
        (["get", "customer", "--kafka", NOBODY], 1, "entity_type:entity_id"),
        (["get", "customer:1", "--kafka", NOBODY], 1, f"no broker answers at {NOBODY}"),
        (["get", "customer:1", "--kafka", "nowhere"], 1, "host:port"),
        (["export", "cache"], 2, "view"),
        (["export", "view"], 1, "SYNCLINE_REDIS"),
        (["digest", "records", "--config", "/nonexistent.yaml"], 1, "/nonexistent.yaml"),
        (["publish", "/nonexistent.jsonl"], 1, "/nonexistent.jsonl"),
        (["view", "rebuild"], 1, "SYNCLINE_REDIS"),
        (["view", "rebuild", "--redis", f"redis://{NOBODY}/0"], 1, f"Redis at {NOBODY}/0"),
        (["wait", "--timeout", "soon"], 2, "--timeout"),
        (["worker", "--web-port", "99999"], 1, "SYNCLINE_WEB_PORT"),
        (["demo", "--input", "/nonexistent.jsonl"], 1, "/nonexistent.jsonl"),
        (["force-sync", "customer:1", "--kafka", NOBODY], 1, f"no broker answers at {NOBODY}"),
    ],
)
def test_a_mistake_gets_one_line(arguments: list[str], code: int, words: str) -> None:
    """What is wrong and where stands in one line on stderr, nothing on stdout, and the exit code is not 0."""
    found, out, err = invoke(*arguments)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert words in err


def test_a_mistyped_setting_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SYNCLINE_ variable that nobody reads is told with the one that was meant."""
    monkeypatch.setenv("SYNCLINE_KAFKAA", NOBODY)
    code, _, err = invoke("wait")
    assert code == 1
    assert "did you mean 'SYNCLINE_KAFKA'?" in err
    assert err.count("\n") == 1


def test_a_password_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL of a Redis that does not answer is told without its password."""
    monkeypatch.setenv("SYNCLINE_REDIS", f"redis://user:hunter2@{NOBODY}/0")
    code, out, err = invoke("view", "rebuild")
    assert code == 1
    assert "hunter2" not in out + err


def test_doctor_names_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker, doctor has a line for each part and ends with 1, as a table and as JSON."""
    code, out, _ = invoke("doctor", "--kafka", NOBODY)
    assert code == 1
    assert [line[:4].strip() for line in out.splitlines()] == ["FAIL", "FAIL", "ok", "ok", "ok", "FAIL"]
    code, out, _ = invoke("doctor", "--kafka", NOBODY, "-o", "json")
    assert code == 1
    assert {found["part"] for found in json.loads(out)} == {
        "broker",
        "topics",
        "redis",
        "change log",
        "policy",
        "clock",
    }


def test_doctor_looks_at_sources_and_targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each that syncline.yaml declares has a line: one that nothing answers at fails, without a secret in it."""
    config = tmp_path / "syncline.yaml"
    config.write_text(
        f"sources: {{shop: {{redis_stream: {{stream: s, url: 'redis://{NOBODY}/0'}}}}, crm: {{}}}}\n"
        f"targets: {{web: {{kind: http, url: 'http://{NOBODY}/in', secret_env: WEB_SECRET}},"
        f" file: {{kind: json_lines, path: {tmp_path}/out.jsonl}}, lake: {{kind: http, url: 'http://a/',"
        " secret_env: LAKE_SECRET}}\n"
    )
    monkeypatch.setenv("SYNCLINE_CONFIG", str(config))
    monkeypatch.setenv("WEB_SECRET", "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy")
    code, out, err = invoke("doctor", "--kafka", NOBODY, "-o", "json")
    assert code == 1
    found = {one["part"]: (one["ok"], one["detail"]) for one in json.loads(out)[6:]}
    assert list(found) == ["source shop", "target web", "target file", "target lake"]
    assert [ok for ok, _ in found.values()] == [False, False, True, False]
    assert found["target lake"][1] == "targets.lake.secret_env: the environment variable LAKE_SECRET is not set"
    assert "aHVudGVy" not in out + err


def test_help_loads_neither_kafka_nor_redis_nor_faust() -> None:
    """The command line is there before the clients are loaded."""
    program = (
        "import sys, syncline.cli; print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'faust', 'mode', 'aiokafka', 'redis', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
