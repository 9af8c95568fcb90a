"""Runs a function of the user's within a budget of instructions, so that what takes too long does so in every replay.

A clock would tell differently on each machine. The interpreter's instructions are counted by `sys.settrace`, in every
Python function that is called, too (lines would not do: `while True: pass` is one). What one call into C does is not
seen. Versions of Python compile to other instructions, so the budget has room: see the convergence check.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

MOST_INSTRUCTIONS: Final = 200_000


class TooLong(BaseException):
    """More instructions than the budget. No Exception, so that a function's `except Exception` lets it pass."""


def within_budget(function: Callable[..., Any], argument: Any, instructions: int = MOST_INSTRUCTIONS) -> Any:
    """What the function returns. Raises TooLong, or what the function raises."""
    left = instructions

    def count(frame: FrameType, event: str, about: object) -> Any:
        nonlocal left
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        left -= 1
        if left < 0:
            raise TooLong
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return function(argument)
    finally:
        sys.settrace(before)
