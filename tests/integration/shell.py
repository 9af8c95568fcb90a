"""Runs `syncline` as a child process, and a worker's settings, for one deployment."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from agents.settings import Settings
from syncline.cli import app
from syncline.processes import with_changes
from tests.conftest import Deployment

TIMEOUT_SECONDS = 400
SESSION_SECONDS = 6.0


class Shell:
    """Runs `syncline` in the environment of one deployment; `more` are further variables of it."""

    def __init__(self, deployment: Deployment, **more: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SYNCLINE_")}
        self.environment = {**kept, **deployment.environment(), "SYNCLINE_PARTITIONS": "2", **more}

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """The finished process, whatever its code."""
        command = [sys.executable, "-m", "syncline", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, env=self.environment, timeout=TIMEOUT_SECONDS)

    def out(self, *arguments: str, stdin: bytes = b"") -> str:
        """Stdout of a command that must succeed without a message."""
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()
        return done.stdout.decode()


class InProcess(Shell):
    """The same without a process for each command, which takes most of its time."""

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """What the finished process would be."""
        kept: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("SYNCLINE_"))
        runner = CliRunner(env={**kept, **self.environment})
        result = runner.invoke(app, list(arguments), input=stdin, prog_name="syncline")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout_bytes, result.stderr_bytes)


def worker_settings(deployment: Deployment, **changes: object) -> Settings:
    """Settings of a worker of this deployment, without a web server unless `changes` say so."""
    settings = {
        "kafka": deployment.kafka,
        "redis": deployment.redis,
        "topic_prefix": deployment.topic_prefix,
        "app_id": deployment.app_id,
        "web_port": 0,
        "session_seconds": SESSION_SECONDS,
        **changes,
    }
    return with_changes(Settings(), settings)
