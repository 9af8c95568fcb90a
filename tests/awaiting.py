"""Waits for what comes about by itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

PATIENCE_SECONDS = 120.0  # on a machine that is busy with other things
LOOK_SECONDS = 0.05


async def until(
    holds: Callable[[], object],
    trouble: Callable[[], str] | str = "it never happened",
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return when a condition is true, or what it awaits is. AssertionError with the trouble after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = holds()
                if await answer if inspect.isawaitable(answer) else answer:
                    return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(trouble if isinstance(trouble, str) else trouble()) from None
