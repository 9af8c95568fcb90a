"""The worker as `syncline worker` starts it: python -m benchmarks.worker [FILE]; with a file, it is sampled into it."""

from __future__ import annotations

import sys

from agents.settings import load_settings
from agents.worker import main
from benchmarks.parts import sampled_into

if __name__ == "__main__":
    if len(sys.argv) > 1:
        with sampled_into(sys.argv.pop()):
            main(load_settings())
    main(load_settings())
