"""A worker that is gone, as by kill -9, when it has sent the n-th step of a change of the policy.

Run as `python -m tests.faults.rejudging_worker N`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from agents.reresolve import Reresolver
from agents.settings import load_settings
from agents.worker import main

if __name__ == "__main__":
    left = int(sys.argv[1])
    judged = Reresolver._judged

    def counted(self: Reresolver, partition: int, standing: Any) -> Any:
        """What is asked for each step; the last one is not sent any more."""
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return judged(self, partition, standing)

    Reresolver._judged = counted  # type: ignore[method-assign]
    main(load_settings())
