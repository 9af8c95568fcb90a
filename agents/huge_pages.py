"""Keeps the heap in pages of 2 MiB where Linux has them.

An entity is some hundred small objects, wherever there was room for them, and a batch touches thousands of entities.
With pages of 4 KiB nearly each of these objects costs a walk through the page table beside its own miss. Linux gives
large pages to those who ask (madvise(2)); CPython's allocator never does.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import re
from pathlib import Path
from typing import Final

from mode import Service

log = logging.getLogger(__name__)

MADV_HUGEPAGE: Final = 14
#: Since Linux 6.1: at once, and not when the kernel comes round to it.
MADV_COLLAPSE: Final = 25
PAGE_BYTES: Final = 2 * 1024 * 1024
LOOK_SECONDS: Final = 5.0
#: What the heap has grown by when it is worth to ask again.
GROWN_BYTES: Final = 16 * PAGE_BYTES

MAPS: Final = Path("/proc/self/maps")
#: Private memory that belongs to no file, as the file has it: first address, and the one behind the last.
ANONYMOUS: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(?:\[heap\])?$", re.MULTILINE)


def anonymous_memory(maps: str) -> list[tuple[int, int]]:
    """The whole large pages (first address, address behind the last) in the text of /proc/self/maps."""
    found = [(-(-int(first, 16) // PAGE_BYTES), int(end, 16) // PAGE_BYTES) for first, end in ANONYMOUS.findall(maps)]
    return [(first * PAGE_BYTES, end * PAGE_BYTES) for first, end in found if first < end]


def ask_for_huge_pages() -> int:
    """Ask for large pages for what this process has allocated; the bytes asked for, 0 where there are none.

    Blocks while the kernel copies what is not in large pages yet; other threads of Python go on. A kernel that will not
    is no failure.
    Raises OSError where there is no /proc.
    """
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    asked = 0
    for first, end in anonymous_memory(MAPS.read_text()):
        if madvise(first, end - first, MADV_HUGEPAGE) == 0:
            madvise(first, end - first, MADV_COLLAPSE)
            asked += end - first
    return asked


class HugePages(Service):
    """Asks again whenever the heap has grown, in a thread of its own."""

    @Service.task
    async def _ask_as_it_grows(self) -> None:
        asked = 0
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            try:
                held = sum(end - first for first, end in anonymous_memory(MAPS.read_text()))
                asked = min(asked, held)
                if held > asked + GROWN_BYTES:
                    asked = await asyncio.to_thread(ask_for_huge_pages)
                    log.debug("Large pages asked for: %d MiB", asked // 1024 // 1024)
            except OSError as error:
                log.info("No large pages: %s", error)
                return
