"""Runs a function of the user's within a budget of lines, so that what takes too long does so in every replay.

A clock would tell differently on each machine. Lines are counted with `sys.settrace`, in every function that is called,
too; what one call into C does is not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

#: About 10 ms of Python.
MOST_LINES: Final = 100_000


class TooLong(BaseException):
    """More lines than the budget. No Exception, so that the function's own `except Exception` lets it pass."""


def within_budget(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns. Raises TooLong, or what the function raises."""
    left = MOST_LINES

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooLong
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return function(*arguments)
    finally:
        sys.settrace(before)
