"""One bad record does not hold back the others of its batch: what is refused is halved until it stands alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from agents.targets.target import Receipt

T = TypeVar("T")


class Refused(Exception):
    """A target does not take these deliveries as they are; the message says why, without values of records."""


async def deliver_what_passes(batch: Sequence[T], send: Callable[[Sequence[T]], Awaitable[Receipt]]) -> Receipt:
    """Send a batch, of deliveries or what was made of them, or its halves in their order, and so on; what came of it.

    send: raises Refused, after which none of what it was given counts as delivered. Of n deliveries of which k are
    refused there are about 2 k log2(n) calls, and 2 n at most. Whatever else `send` raises ends it.
    """
    refused: dict[int, str] = {}
    sent_bytes = 0
    parts = [(0, len(batch))] if batch else []
    while parts:
        start, end = parts.pop()
        try:
            receipt = await send(batch[start:end])
        except Refused as refusal:
            if end - start == 1:
                refused[start] = str(refusal)
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
        else:
            refused |= {start + place: reason for place, reason in receipt.refused.items()}
            sent_bytes += receipt.sent_bytes
    return Receipt(refused, sent_bytes)
