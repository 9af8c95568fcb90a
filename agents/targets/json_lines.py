"""A file with a JSON object in each line, appended to and put aside when it is large or old enough.

A batch is accepted when it is on disk (fsync). Several workers of one machine may write the same file: each append
is made under a lock on `<path>.lock`. What a crash has left of a line is cut off before the next append.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from agents.targets.file_lock import file_lock
from agents.targets.message import message_text
from agents.targets.rotation import compress_all, due, put_aside, sync_directory
from agents.targets.target import Receipt, TargetUnavailable
from schemas.target_document import JsonLinesDocument
from streams.delivery import Delivery

TAIL_BYTES = 64 * 1024


class JsonLinesTarget:
    """Appends to one file. Nothing is remembered of what is in it: a reader keeps the greatest position of a key."""

    def __init__(self, said: JsonLinesDocument) -> None:
        self._said = said
        self._path = Path(said.path)
        self._timeout_seconds = said.timeout / 1000
        # One thread: what a slow disk has not done yet is done before what comes later.
        self._disk: ThreadPoolExecutor | None = None
        self._packing: ThreadPoolExecutor | None = None
        self.healthy = True

    async def open(self) -> None:
        """Make the directory and the file, and cut off what a crash has left of a line."""
        if self._disk is None:
            self._disk = ThreadPoolExecutor(1, thread_name_prefix="json-lines")
            self._packing = ThreadPoolExecutor(1, thread_name_prefix="json-lines-gzip")
        await self._write(b"")
        self._compress()

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """Append a line for each delivery and wait until they are on disk."""
        data = "".join(f"{message_text(delivery)}\n" for delivery in batch).encode()
        await self._write(data)
        return Receipt(sent_bytes=len(data))

    async def close(self) -> None:
        """End the threads; it does not wait for a disk that hangs."""
        for threads in (self._disk, self._packing):
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)
        self._disk = self._packing = None

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
        with file_lock(f"{self._path}.lock", self._timeout_seconds):
            self._put_aside_if_due()
            with opened(self._path) as file:
                write_whole(file, data, cut_torn_line(file))

    def _put_aside_if_due(self) -> None:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return
        if due(state.st_size, state.st_mtime, time.time(), self._said.rotate_bytes, self._said.rotate_every):
            with opened(self._path) as file:
                cut_torn_line(file)
            put_aside(self._path)
            self._compress()

    def _compress(self) -> None:
        if self._said.compress and self._packing is not None:
            self._packing.submit(compress_all, self._path)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file, open to read and append; its name lasts."""
    new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if new:
            sync_directory(path)
        yield file
    finally:
        os.close(file)


def write_whole(file: int, data: bytes, end: int) -> None:
    """Append and wait for the disk. After an OSError the file ends where it did, so that nothing is there twice."""
    try:
        written = 0
        while written < len(data):
            written += os.write(file, data[written:])
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise


def cut_torn_line(file: int) -> int:
    """Cut off what a crash has left of a line; where the last whole line ends. The time of the last write stays."""
    state = os.fstat(file)
    end = whole_lines(file, state.st_size)
    if end != state.st_size:
        os.ftruncate(file, end)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    return end


def whole_lines(file: int, end: int) -> int:
    """Where the last whole line before `end` ends."""
    while end > 0:
        start = max(0, end - TAIL_BYTES)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
