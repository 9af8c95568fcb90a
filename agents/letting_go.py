"""Lets go of a client whose server may be away: its own end may take as long as its requests may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

#: The loop itself keeps no hold of a task.
_ending: set[asyncio.Task[None]] = set()


async def let_go(end: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Wait so long for a client to end; then it ends by itself, in the background. Nothing is raised.

    It is not cancelled: a client that was stopped half-way keeps its connections, and goes on trying, for ever.
    """
    task = asyncio.get_running_loop().create_task(_quietly(end))
    _ending.add(task)
    task.add_done_callback(_ending.discard)
    await asyncio.wait({task}, timeout=seconds)


async def _quietly(end: Coroutine[Any, Any, Any]) -> None:
    try:
        await end
    except Exception as error:
        log.info("A client did not end in order: %s", type(error).__name__)
