"""Large pages for the heap: what is asked for, and that nothing is lost by asking."""

from __future__ import annotations

import subprocess
import sys

from agents.huge_pages import PAGE_BYTES, anonymous_memory

MAPS = """\
55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 1234                       /usr/bin/python3.11
55d0c1000000-55d0c1a00000 rw-p 00000000 00:00 0                          [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0000800000-7f0000900000 rw-p 00000000 00:00 0
7f0001000000-7f0001800000 ---p 00000000 00:00 0
7f0002000000-7f0002800000 rw-s 00000000 00:01 77                         /dev/shm/shared
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0                          [stack]
"""

PROGRAM = """
import hashlib, random
from agents.huge_pages import ask_for_huge_pages
parts = [random.randbytes(100_000) for _ in range(300)]
before = hashlib.sha256(b"".join(parts)).digest()
print(ask_for_huge_pages())
assert hashlib.sha256(b"".join(parts)).digest() == before
"""


def test_whole_pages_of_private_memory_are_asked_for() -> None:
    """What belongs to a file, to several processes or to the stack is left alone."""
    assert anonymous_memory(MAPS) == [(0x55D0C1000000, 0x55D0C1A00000), (0x7F0000200000, 0x7F0000600000)]
    assert all(address % PAGE_BYTES == 0 for part in anonymous_memory(MAPS) for address in part)


def test_memory_is_the_same_after_asking() -> None:
    """All that was allocated before keeps its contents."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60.0, check=True)
    assert int(done.stdout) % PAGE_BYTES == 0
