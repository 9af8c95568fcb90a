"""The worker as `syncline worker` starts it: python -m benchmarks.worker [FILE]; with a file, it is sampled into it."""

from __future__ import annotations

import sys

from agents.app import build
from agents.settings import load_settings
from agents.worker import run
from benchmarks.parts import sampled_into

if __name__ == "__main__":
    settings = load_settings()
    if len(sys.argv) > 1:
        with sampled_into(sys.argv.pop()):
            run(build(settings), settings.log_level)
    run(build(settings), settings.log_level)
