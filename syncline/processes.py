"""Workers as child processes: one for a demonstration, or as many as there are cores.

One worker computes on one core, as all of Python does. The consumer group shares the partitions out among them, as it
does among workers of several machines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pydantic import SecretStr

from agents.settings import PREFIX, Settings, load_settings
from syncline.embedded import WATCHDOG
from syncline.terminal import say

#: Beyond what a worker takes by itself, half of a rebalance.
DRAIN_SECONDS = 20.0
LOOK_SECONDS = 0.2

WORKER = ("worker",)


class Start(NamedTuple):
    """A process to start: its settings, and the command that it runs."""

    settings: Settings
    arguments: Sequence[str] = WORKER


class WorkerProcess:
    """A worker as a child process. It dies with this process, however that ends; its log goes to `log`.

    arguments: the command that it runs.
    """

    def __init__(self, settings: Settings, log: Path | None, arguments: Sequence[str] = WORKER) -> None:
        self._log = log
        self._sink = None if log is None else log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "syncline", *arguments],
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
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The code it ended with, None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Have it drain and end; returns at once."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self.stop()

    def stop(self) -> int:
        """Have it drain and end; returns its code."""
        self.terminate()
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


def couriers_of(settings: Settings, targets: Sequence[str], web_port: int) -> list[Start]:
    """A process for each of these targets. web_port: of the first one, the others' count up; 0 for none."""
    ports = (web_port + number if web_port else 0 for number in range(len(targets)))
    return [
        Start(with_changes(settings, {"web_port": port, "processes": 1}), ("deliver", name, "--web-port", str(port)))
        for name, port in zip(targets, ports, strict=True)
    ]


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings."""
    chosen = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {f"{PREFIX}{name.upper()}": _text(value) for name, value in chosen.items() if value is not None}


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def with_changes(settings: Settings, changed: Mapping[str, object]) -> Settings:
    """The same settings with some of them changed."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return load_settings(**{**given, **changed})


def workers_of(settings: Settings) -> list[Start]:
    """The processes of a worker: each gets a web port and a directory of its own, and all else alike."""
    each: list[Start] = []
    for number in range(settings.processes):
        own: dict[str, object] = {"processes": 1}
        if settings.web_port:
            own["web_port"] = settings.web_port + number
        if settings.data_dir is not None:
            own["data_dir"] = settings.data_dir / f"process-{number}"
        each.append(Start(with_changes(settings, own)))
    return each


def run_until_stopped(each: Sequence[Start], look: Callable[[], None] = lambda: None) -> int:
    """Run these until SIGINT, SIGTERM or the end of one; returns the exit code.

    One that ends by itself ends them all, after their drain: whoever started this starts it again. look: called
    meanwhile, several times a second.
    """
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)

    # Not by KeyboardInterrupt, which could come in the middle of stopping.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    workers: list[WorkerProcess] = []
    try:
        workers += [WorkerProcess(settings, None, arguments) for settings, arguments in each]
        while not stopped and all(worker.code is None for worker in workers):
            look()
            time.sleep(LOOK_SECONDS)
        # Whoever tells it to stop while it drains comes too late to have been the reason.
        ended = [] if stopped else [worker.code for worker in workers if worker.code is not None]
    finally:
        for worker in workers:
            worker.terminate()
        codes = [worker.stop() for worker in workers]
        for number, previous in before.items():
            signal.signal(number, previous)
    if ended:
        say(f"syncline: a worker ended with code {ended[0]}; its log above says why")
        return ended[0] or 1
    return max(codes)
