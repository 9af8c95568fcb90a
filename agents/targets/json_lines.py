"""A file with a JSON object in each line, appended to and put aside when it is large or old enough.

A batch is accepted when it is on disk (fsync). Several workers of one machine may write the same file: each append
is made under a lock on `<path>.lock`. What a crash has left of a line is cut off before the next append.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agents.targets.message import message_text
from agents.targets.target import Receipt, TargetUnavailable
from schemas.target_document import JsonLinesDocument
from streams.delivery import Delivery

LOCK_POLL_SECONDS = 0.01
TAIL_BYTES = 64 * 1024


class JsonLinesTarget:
    """Appends to one file. Nothing is remembered of what is in it: a reader keeps the greatest position of a key."""

    def __init__(self, settings: JsonLinesDocument) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._timeout_seconds = settings.timeout / 1000
        # One thread: what a slow disk has not done yet is done before what comes later.
        self._disk: ThreadPoolExecutor | None = None
        self.healthy = True

    async def open(self) -> None:
        """Make the directory and the file, and cut off what a crash has left of a line."""
        if self._disk is None:
            self._disk = ThreadPoolExecutor(1, thread_name_prefix="json-lines")
        await self._write(b"")

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """Append a line for each delivery and wait until they are on disk."""
        data = "".join(f"{message_text(delivery)}\n" for delivery in batch).encode()
        await self._write(data)
        return Receipt(sent_bytes=len(data))

    async def close(self) -> None:
        """End the thread; it does not wait for a disk that hangs."""
        if self._disk is not None:
            self._disk.shutdown(wait=False, cancel_futures=True)
            self._disk = None

    async def _write(self, data: bytes) -> None:
        self.healthy = False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.get_running_loop().run_in_executor(self._disk, self._append, data)
        except TimeoutError:
            raise TargetUnavailable(f"{self._path}: not on disk within {self._timeout_seconds:g} s") from None
        except OSError as error:
            raise TargetUnavailable(f"{self._path}: {error.strerror or type(error).__name__}") from None
        self.healthy = True

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                end = whole_lines(file)
                os.ftruncate(file, end)
                try:
                    written = 0
                    while written < len(data):
                        written += os.write(file, data[written:])
                    os.fsync(file)
                except OSError:
                    # What is half written would be there twice after the next attempt.
                    os.ftruncate(file, end)
                    raise
            finally:
                os.close(file)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + self._timeout_seconds
        with open(f"{self._path}.lock", "a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("the lock is held by another process") from None
                    time.sleep(LOCK_POLL_SECONDS)
            yield


def whole_lines(file: int) -> int:
    """Where the last whole line of an open file ends."""
    end = os.lseek(file, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - TAIL_BYTES)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
