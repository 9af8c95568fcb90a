"""What every target is, ours and a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from streams.delivery import Delivery


class TargetUnavailable(Exception):
    """The same may be tried again later. reason: one line without values of records and without secrets.

    retry_after_seconds: how long the target wants to be left alone; None where it does not say.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class TargetUnusable(Exception):
    """Nothing can be delivered before a person has changed something; the message says what and how."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch. Whatever is not refused is accepted: durable, or older than what the target has.

    refused: place in the batch -> reason, in one line without values; it must not be tried again as it is.
    sent_bytes: size of what went to the target.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    sent_bytes: int = 0


@runtime_checkable
class Target(Protocol):
    """A place that golden records are delivered to. `syncline.target_conformance` has its tests.

    Every call ends within the `timeout` of the target's section, and two seconds to clean up. Calls of `deliver` may
    overlap if no entity is in two of them; nothing else overlaps.
    """

    @property
    def healthy(self) -> bool:
        """Whether the newest call went well; True before the first one."""

    async def open(self) -> None:
        """Get ready; once more after TargetUnavailable, or after `close`. Raises TargetUnavailable, TargetUnusable."""

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """Deliver in order; at least all deliveries of one entity take effect in the order of the batch.

        Delivering again is harmless: where the target has a guard, the second time has no effect, and nothing older
        overwrites what is newer (`Delivery.order`). A refused delivery does not hold back the others.
        Raises TargetUnavailable: some of the batch may have been delivered, so all of it is to be tried again.
        Raises TargetUnusable.
        """

    async def close(self) -> None:
        """Let go of connections and files; never raises because the target is away."""
