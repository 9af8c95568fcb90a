"""The worker process: signals, event loop, garbage collection, and what must not be there."""

from __future__ import annotations

import asyncio
import gc
import sys

import faust.worker
from faust.serializers import codecs

from agents.closed_transports import expect_closed_transports
from agents.ending import EX_SOFTWARE, end_process
from agents.header_names import tolerate_header_names
from agents.versions import require_pinned_versions

#: CPython looks through the young objects after every 700 allocations, and through everything ever more
#: often. The engine makes hundreds of thousands of objects a second that reference counting frees, and
#: holds millions that stay; looking for cycles among them took half of the time.
YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS = 500_000, 5, 20

#: Seconds after which a thread that computes lets another one run. The consumer's thread hands batches to the
#: main one; at CPython's 5 ms one change in a hundred waited for it several times as long as for all the rest.
SWITCH_SECONDS = 0.0005


def tune_garbage_collection() -> None:
    """Collect rarely; call once at the start of a worker process."""
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)


def freeze_recovered() -> None:
    """Take what recovery loaded out of the collector's sight; it stays as long as its partition does.

    Thaw first: what an earlier recovery loaded and a revocation dropped must be found again.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def remove_pickle() -> None:
    """Take away the codec that runs whatever a payload says; nothing here ever names it, but a setting can."""
    codecs.codecs.pop("pickle", None)


def tune_event_loop() -> None:
    """Answer sockets quickly: uvloop where it exists (not on Windows), and threads that give way soon."""
    sys.setswitchinterval(SWITCH_SECONDS)
    if sys.platform != "win32":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def harden_process() -> None:
    """What every way to start a worker does first: `syncline worker` and `faust -A agents.app worker`."""
    require_pinned_versions()
    remove_pickle()
    tune_event_loop()
    expect_closed_transports()
    tolerate_header_names()
    tune_garbage_collection()


class SynclineWorker(faust.worker.Worker):
    """Faust's worker that ends at once, with code 70 and one line, when a part of it fails.

    A stock one stops everything in good order first, commits included, and ends with code 1 whatever happened.
    And it has no door: SIGUSR2 opens a debugger's prompt in a stock one.
    """

    async def start(self) -> None:
        """Start all parts."""
        try:
            await super().start()
        except Exception as error:
            end_process(EX_SOFTWARE, f"cannot start: {error!r}")

    def _crash(self, reason: BaseException) -> None:
        # Faust tells the root of its services last, in whichever thread a part has failed.
        end_process(EX_SOFTWARE, f"a part of the worker failed: {reason!r}")

    def _on_sigusr2(self) -> None:
        self.log.info("SIGUSR2 is ignored")
