"""A deployment on this machine: embedded servers where none are configured, and a worker as a child process."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from agents.settings import PREFIX, Settings, load_settings
from syncline.embedded import LOOPBACK, WATCHDOG, ServerStartError, free_port, start_broker, start_redis
from syncline.terminal import CommandError, say, write_lines

#: The embedded broker answers a first JoinGroup after half of it.
EMBEDDED_SESSION_SECONDS = 6.0
DRAIN_SECONDS = 20.0


class WorkerProcess:
    """A worker as a child process. It dies with this process, however that ends; its log goes to `log`."""

    def __init__(self, settings: Settings, log: Path | None) -> None:
        self._log = log
        self._sink = None if log is None else log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "syncline", "worker"],
            stdin=subprocess.DEVNULL,
            stdout=self._sink,
            stderr=self._sink,
            env={**os.environ, **environment_of(settings)},
            # A session of its own: Ctrl-C reaches only this process, which then stops everything in order.
            start_new_session=True,
        )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def code(self) -> int | None:
        """The code it ended with, None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """Have it drain and end; returns its code."""
        self._process.terminate()
        try:
            code = self._process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._watchdog.kill()
        self._watchdog.communicate()
        if self._sink is not None:
            self._sink.close()
        return code

    def last_words(self) -> str:
        """The last line of its log, for a message."""
        lines = [] if self._log is None else self._log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings."""
    chosen = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items() if value is not None}


@contextmanager
def servers(settings: Settings) -> Iterator[tuple[Settings, Path]]:
    """Start what is not configured, and give settings that name everything and a directory for logs.

    Says what it started. Raises CommandError when it cannot.
    """
    changed: dict[str, object] = {}
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="syncline-", ignore_cleanup_errors=True))
        )
        try:
            if "kafka" in settings.model_fields_set:
                say(f"broker: {settings.kafka}, as configured")
            else:
                broker = start_broker(directory)
                stack.callback(broker.stop)
                changed |= {"kafka": broker.address}
                if "session_seconds" not in settings.model_fields_set:
                    changed |= {"session_seconds": EMBEDDED_SESSION_SECONDS}
                say(f"broker: none configured (SYNCLINE_KAFKA), started an embedded one on {broker.address}, in memory")
            if settings.redis is not None:
                say("Redis: as configured")
            else:
                redis = start_redis(directory)
                stack.callback(redis.stop)
                changed |= {"redis": redis.url}
                say(f"Redis: none configured (SYNCLINE_REDIS), started an embedded one on {redis.address}, in memory")
        except ServerStartError as error:
            raise CommandError(str(error)) from None
        yield with_changes(settings, changed), directory


def with_changes(settings: Settings, changed: Mapping[str, object]) -> Settings:
    """The same settings with some of them changed."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return load_settings(**{**given, **changed})


def run_in_foreground(settings: Settings) -> int:
    """Run servers and a worker until SIGINT, SIGTERM or the worker's own end; returns the exit code."""
    with servers(settings) as (running, _):
        if "web_port" not in running.model_fields_set and _taken(running.web_port):
            running = with_changes(running, {"web_port": free_port()})
        worker = WorkerProcess(running, log=None)
        stopped: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.append(number)

        # Not by KeyboardInterrupt, which could come in the middle of stopping.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            say("in another shell:")
            write_lines(f"export {name}={shlex.quote(value)}" for name, value in _exports(running).items())
            ready = False
            while not stopped and worker.code is None:
                if not ready and running.web_port and _is_ready(running.web_port):
                    ready = True
                    say(f"ready; metrics on http://{LOOPBACK}:{running.web_port}/metrics; Ctrl-C ends everything")
                time.sleep(0.2)
            ended = worker.code
        finally:
            code = worker.stop()
            for number, previous in before.items():
                signal.signal(number, previous)
    if ended is not None:
        say(f"syncline: the worker ended with code {ended}; its log above says why")
        return ended or 1
    return code


def _exports(settings: Settings) -> dict[str, str]:
    shared = ("kafka", "redis", "config", "app_id", "topic_prefix", "partitions")
    return {
        name: value for name, value in environment_of(settings).items() if name.removeprefix(PREFIX).lower() in shared
    }


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
