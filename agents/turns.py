"""A service that takes turns for ever: what fails is told, and tried again after a pause."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mode import Service

log = logging.getLogger(__name__)

BACKOFF_SECONDS: Final = (0.1, 5.0)


class TurnTaking(Service):
    """what: stands in front of its lines in the log. No turn's exception leaves it.

    healthy: whether the newest turn of each part went well.
    """

    what = "A service"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._troubles: dict[str, str] = {}

    @property
    def healthy(self) -> bool:
        """Whether the servers did what they were last asked to do."""
        return not self._troubles

    async def _repeat(self, part: str, turn: Callable[[], Awaitable[bool]], pause_seconds: float) -> None:
        """Take turns for ever. turn: returns whether the next one should follow at once."""
        failures = 0
        while not self.should_stop:
            try:
                at_once = await turn()
            except Exception as error:  # a server that is away must not end the worker
                shortest, longest = BACKOFF_SECONDS
                pause = min(longest, shortest * 2**failures) * random.uniform(0.5, 1.0)
                failures = min(failures + 1, 16)
                self._note(part, f"{type(error).__name__}: {error}"[:300])
                await self.sleep(pause)
            else:
                failures = 0
                self._note(part, None)
                await (asyncio.sleep(0) if at_once else self.sleep(pause_seconds))

    def _note(self, part: str, trouble: str | None) -> None:
        if trouble is None:
            if self._troubles.pop(part, None) is not None:
                log.info("%s is served again (%s)", self.what, part)
        else:
            if part not in self._troubles:
                log.warning("%s falls behind and is tried again (%s): %s", self.what, part, trouble)
            self._troubles[part] = trouble
