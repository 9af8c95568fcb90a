"""What is done alike to our workers and to those of plain Faust, so that their losses can be compared."""

from __future__ import annotations

import random
import time

from tests.faults.loaded_run import LoadedRun
from tests.faults.proxy import Proxy

WORKERS = 2
KILLS = 8
BETWEEN_KILLS = (2.0, 4.0)
KILLED = f"a random worker is killed every {BETWEEN_KILLS[0]:g} to {BETWEEN_KILLS[1]:g} s, {KILLS} times"
BEYOND_SESSION_SECONDS = 4.0
PAUSED = f"a worker is stopped for its session and {BEYOND_SESSION_SECONDS:g} s, then goes on; each once"
#: There and back: twice that for each answer.
DELAY_SECONDS = 0.3
SLOW = f"{2 * DELAY_SECONDS:g} s for every answer, worker killed"


def kill_at_random(run: LoadedRun) -> None:
    """Every second kill meets a worker at work, the others perhaps one that recovers."""
    chance = random.Random(1)
    for number in range(KILLS):
        if number % 2 == 0:
            run.until_progress()
        time.sleep(chance.uniform(*BETWEEN_KILLS))
        run.kill_worker(chance.randrange(WORKERS))


def pause_beyond_session(run: LoadedRun) -> None:
    """Each worker is the zombie once, and the other its successor."""
    for number in range(WORKERS):
        run.fault()
        run.pause_worker(number)
        time.sleep(run.settings.session_seconds + BEYOND_SESSION_SECONDS)
        run.resume_worker(number)
        run.until_progress()


def kill_behind_slow_broker(run: LoadedRun, proxy: Proxy) -> None:
    """More is sent than the way takes at once; the worker is killed when offsets of that have been committed."""
    proxy.delay(DELAY_SECONDS)
    for _ in range(2):
        run.until_progress()
    run.kill_worker(0)
