"""A worker that comes to a stand and keeps its partitions: `python -m tests.faults.stuck_worker HOW`.

The product has no hooks for it: its methods are wrapped here. It says on stderr when it stands.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from faust.tables.recovery import Recovery

from agents.outbox import Outbox
from agents.resolve import Work
from agents.settings import load_settings
from agents.worker import main

STANDS = "stuck_worker: stands still"
BLOCKED_SECONDS = 3600.0
#: A worker that has worked, not one that never could.
BATCHES_BEFORE = 2


def stand() -> None:
    """Tell whoever reads the log."""
    os.write(2, f"{STANDS}\n".encode())


def block_loop() -> None:
    """The event loop stands still in the middle of a batch; the consumer's thread goes on with its heartbeats."""
    perform: Callable[..., None] = Work.perform
    batches = iter(range(BATCHES_BEFORE))

    def performing(self: Work, *args: Any, **kwargs: Any) -> None:
        if next(batches, None) is None:
            stand()
            time.sleep(BLOCKED_SECONDS)
        perform(self, *args, **kwargs)

    Work.perform = performing  # type: ignore[method-assign]


def end_recovery() -> None:
    """Recovery comes to nothing and says nothing: one step of it never ends, whatever its deadline."""

    async def waiting(self: Recovery, step: Any, *_: Any) -> None:
        step.close()
        stand()
        await asyncio.Event().wait()

    Recovery._wait = waiting  # type: ignore[method-assign]


def lose_acknowledgements() -> None:
    """Batches are resolved and sent, and nobody hears that Kafka has them."""
    send: Callable[..., None] = Outbox.send
    batches = iter(range(BATCHES_BEFORE))

    async def never(ranges: Any) -> None:
        pass

    def sending(self: Outbox, partition: int, parcel: Any, delivered: Any) -> None:
        lost = next(batches, None) is None
        if lost:
            stand()
        send(self, partition, parcel, never if lost else delivered)

    Outbox.send = sending  # type: ignore[method-assign, assignment]


HOW = {"loop blocked": block_loop, "recovery dead": end_recovery, "nothing acknowledged": lose_acknowledgements}

if __name__ == "__main__":
    HOW[sys.argv[1]]()
    main(load_settings())
