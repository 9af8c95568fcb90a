"""How a worker ends when going on would lose data: one clear line, and out."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EX_SOFTWARE = 70  # sysexits.h: the work could not be done; a supervisor should start the worker again
EX_CONFIG = 78  # sysexits.h: something is configured wrongly; starting again will not help


def end_process(code: int, line: str) -> NoReturn:
    """Print one line on stderr and end at once, without any clean-up.

    An exception would not do: Faust acknowledges what an agent was working on when its body raises, and a
    clean-up would commit offsets. A process that is simply gone has acknowledged nothing, so whoever
    takes over the partitions reads the same changes again.
    """
    sys.stdout.flush()
    # The descriptor itself: a Faust worker redirects sys.stderr into its log, which os._exit would cut off.
    os.write(2, f"syncline: {line}\n".encode(errors="replace"))
    os._exit(code)


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """For a drain: ends the process with code 70 where the block takes longer."""
    late = threading.Timer(seconds, end_process, (EX_SOFTWARE, f"not stopped within {seconds:g} s"))
    late.daemon = True
    late.start()
    yield
    late.cancel()
