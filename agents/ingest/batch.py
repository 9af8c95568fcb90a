"""One read of a source, taken record by record: what goes to `changes`, and what is refused."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from agents.dead_letters import Row
from schemas.refusal import Refusal
from streams.ingest import Dropped, Taken

log = logging.getLogger(__name__)

#: Records taken before the event loop gets its turn: resolution runs on the same one.
TAKEN_AT_ONCE: Final = 16

T = TypeVar("T")


@dataclass(slots=True)
class Batch(Generic[T]):
    """What one read comes to. changes: rows for `changes`, in order. refused: what was read, and why not taken.

    counts: copied, near_miss (copied, too), echo, tombstone, refused.
    """

    changes: list[Row] = field(default_factory=list)
    refused: list[tuple[T, Refusal]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


async def take_all(read: Iterable[T], take: Callable[[T], Taken | Dropped], batch: Batch[T]) -> None:
    """Take each of what was read, in order, into a batch. take: may raise Refusal."""
    for number, one in enumerate(read, 1):
        try:
            taken = take(one)
        except Refusal as refusal:
            _refuse(batch, one, refusal)
        except Exception as error:
            # Not reached as far as is known; but whatever it is, it is this record, and the next one can be taken.
            log.error("A record could not be taken: %s", type(error).__name__)
            _refuse(batch, one, Refusal("bad_shape", f"it could not be taken: {type(error).__name__}"))
        else:
            _sort(batch, taken)
        if number % TAKEN_AT_ONCE == 0:
            await asyncio.sleep(0)


def _sort(batch: Batch[T], taken: Taken | Dropped) -> None:
    if isinstance(taken, Dropped):
        batch.counts[taken.value] += 1
        return
    batch.changes.append(Row(taken.key, taken.value))
    batch.counts["copied"] += 1
    if taken.near_miss:
        batch.counts["near_miss"] += 1


def _refuse(batch: Batch[T], one: T, refusal: Refusal) -> None:
    batch.refused.append((one, refusal))
    batch.counts["refused"] += 1
