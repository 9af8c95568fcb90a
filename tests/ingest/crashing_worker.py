"""A worker that ends at one boundary of ingest: when Kafka has acknowledged, and the source was not told yet.

python -m tests.ingest.crashing_worker TIMES: the process is gone when it comes there for the TIMES-th time.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from agents.ingest.changes_producer import ChangesProducer
from agents.settings import load_settings
from agents.worker import main

CRASHED = 137


def crash_after(times: int) -> None:
    """End the process after so many sends that had something to send."""
    send = ChangesProducer.send
    left = [times]

    async def sending(self: ChangesProducer, changes: Any, dead_letters: Any = ()) -> None:
        await send(self, changes, dead_letters)
        left[0] -= bool(changes)
        if left[0] == 0:
            os.write(2, b"crashing_worker: gone\n")
            os._exit(CRASHED)

    ChangesProducer.send = sending  # type: ignore[method-assign]


if __name__ == "__main__":
    crash_after(int(sys.argv[1]))
    main(load_settings())
