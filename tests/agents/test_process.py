"""How a worker process ends when a part of it fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agents.ending import EX_SOFTWARE

PROGRAM = """
import sys
import faust
from mode import Service
from mode.threads import ServiceThread
from agents.process import SynclineWorker

class Part(Service):
    async def on_start(self):
        %(start)s

    @Service.task
    async def work(self):
        %(task)s

class Beside(ServiceThread):
    @Service.task
    async def work(self):
        %(thread)s

class App(faust.App):
    def on_init_dependencies(self):
        return [Part(), Beside()]

    async def on_stop(self):
        print("stopped in good order")

app = App("failing", web_enabled=False)
SynclineWorker(app, loglevel="INFO", redirect_stdouts=False, stdout=sys.stderr).execute_from_commandline()
"""


@pytest.mark.parametrize("where", ["start", "task", "thread"])
def test_a_worker_ends_at_once_when_a_part_of_it_fails(where: str) -> None:
    """Wherever a part fails, the process ends with code 70 and says why, without a clean-up that acknowledges."""
    parts = dict.fromkeys(("start", "task", "thread"), "pass")
    program = PROGRAM % (parts | {where: "raise RuntimeError('out of order')"})
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60.0)
    assert (done.returncode, done.stdout) == (EX_SOFTWARE, ""), done.stderr
    (told,) = (line for line in done.stderr.splitlines() if line.startswith("syncline: "))
    assert "RuntimeError('out of order')" in told
