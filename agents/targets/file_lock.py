"""A lock between processes of one machine: a file that nobody reads."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

POLL_SECONDS: Final = 0.01


@contextmanager
def file_lock(path: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock. Raises TimeoutError: somebody else has it for longer than that; OSError."""
    deadline = time.monotonic() + wait_seconds
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{path} is locked by another process") from None
                time.sleep(POLL_SECONDS)
        yield
