"""Worker processes of a fault test, and a supervisor that starts them again however they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from agents.settings import Settings
from syncline.embedded import LOOPBACK, WATCHDOG, free_port
from syncline.processes import environment_of, with_changes

NORMAL = ("-m", "syncline", "worker")
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.3


class Worker:
    """One worker process, with a web server of its own. It dies with this process; its log goes to `log`."""

    def __init__(self, settings: Settings, log: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.settings = with_changes(settings, {"web_port": free_port()})
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **environment_of(self.settings), **environment},
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The code it ended with (minus a signal's number), None while it runs."""
        return self._process.poll()

    @property
    def stopped(self) -> bool:
        """Whether it stands still after SIGSTOP."""
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing when it has ended."""
        self._process.send_signal(number)

    def ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.settings.web_port}/readyz", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it (it may be stopped), wait for its end, and return its code."""
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._watchdog.kill()
        self._watchdog.communicate()
        return code


class Supervisor(threading.Thread):
    """Keeps workers running: whichever ended is started again, as the normal worker, under its number.

    codes: (number, code) of each worker that ended without being told to.
    """

    def __init__(self, restarted: Callable[[int], Worker]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.workers: dict[int, Worker] = {}
        self.codes: list[tuple[int, int]] = []
        self._restarted = restarted
        self._lock = threading.Lock()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with self._lock:
                for number, worker in list(self.workers.items()):
                    if worker.code is not None:
                        self.codes.append((number, worker.end()))
                        time.sleep(AGAIN_SECONDS)
                        self.workers[number] = self._restarted(number)

    def keep(self, number: int, worker: Worker) -> None:
        """Watch one more."""
        with self._lock:
            self.workers[number] = worker

    def release(self, number: int) -> Worker:
        """Watch it no longer, so that it stays as it is when it ends."""
        with self._lock:
            return self.workers.pop(number)

    def over(self) -> None:
        """Kill all workers and end."""
        self._over.set()
        self.join()
        for worker in self.workers.values():
            worker.end(signal.SIGKILL)
