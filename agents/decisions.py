"""People's commands on this worker's entities: checked against what is decided already, then changes like all others.

A decision goes to `changes` and counts when it comes back from there, so that a replay has it. Two races are closed.
Between two commands: the second is checked against the state *and* the decisions that are published and not in it yet.
Between two workers: whoever gets a partition first reads `changes` to where it ended then, for the former owner may
have published decisions that no state has yet. What a stopped process sends hours late is a decision that knew nothing
of the others: those two are in conflict, which is what the algebra makes of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from agents.control import tell
from agents.dead_letters import Row
from schemas.codec import encode_change
from schemas.command import Command
from schemas.refusal import Refusal
from schemas.wire import WireChange
from streams.decisions import decide
from streams.entity import absorb
from streams.entity_codec import decode_entity
from streams.policy import Policy

CATCH_UP_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
KAFKA_TIMEOUT_SECONDS: Final = 10.0
#: So many entities with decisions are kept before it is asked of all of them which have absorbed theirs.
MOST_WAITING: Final = 1_000


class Reading(NamedTuple):
    """How far a partition of `changes` is. resolved: offset after the last that the table has; end: of the log."""

    resolved: int
    end: int


class States(Protocol):
    """Encoded states of one partition by entity key."""

    def get(self, key: bytes, /) -> bytes | None: ...


class Decisions:
    """Turns commands into steward changes.

    states: those of a partition. reading: how far a partition is, None where that is not known yet. policy: the one in
    force. kafka, control: address, and full name of topic `control`, which gets the ends of pins.
    """

    def __init__(
        self,
        states: Callable[[int], States],
        reading: Callable[[int], Reading | None],
        policy: Callable[[], Policy],
        kafka: str,
        control: str,
        catch_up_seconds: float = CATCH_UP_SECONDS,
    ) -> None:
        self._states, self._reading, self._policy = states, reading, policy
        self._kafka, self._control = kafka, control
        self._catch_up_seconds = catch_up_seconds
        self._unabsorbed: dict[int, dict[bytes, list[WireChange]]] = {}

    def forget(self, partition: int) -> None:
        """Forget what is known of a partition; it is no longer ours, or was not for a while."""
        self._unabsorbed.pop(partition, None)

    async def decide(self, partition: int, key: bytes, command: Command, given_at_ms: int) -> Row | None:
        """The record for `changes` by which a command is carried out; None where that was done before.

        given_at_ms: when Kafka got the command. Raises Refusal, and KafkaError where the end of a pin cannot be noted.
        """
        if partition not in self._unabsorbed:
            await self._catch_up(partition)
            self._unabsorbed[partition] = {}
        state = self._states(partition).get(key)
        waiting = self._still_waiting(partition, key)
        policy = self._policy()
        # A broker that keeps the producers' times may have one of the future.
        change = decide(command, state, waiting, policy, min(given_at_ms, time.time_ns() // 1_000_000))
        if change is None:
            return None
        if command.kind == "pin":
            await self._note_end(command)
        waiting.append(change.wire())
        return Row(key, encode_change(change, policy.limits))

    async def _catch_up(self, partition: int) -> None:
        deadline = time.monotonic() + self._catch_up_seconds
        target: int | None = None
        while True:
            reading = self._reading(partition)
            if reading is not None:
                target = reading.end if target is None else target
                if reading.resolved >= target:
                    return
            if time.monotonic() > deadline:
                behind = "an unknown number of" if reading is None else f"{reading.end - reading.resolved}"
                raise Refusal("not_caught_up", f"{behind} changes are to be read before this; ask again later", "check")
            await asyncio.sleep(LOOK_SECONDS)

    def _still_waiting(self, partition: int, key: bytes) -> list[WireChange]:
        """The decisions about an entity that its state does not have yet."""
        known = self._unabsorbed[partition]
        for other in list(known) if len(known) > MOST_WAITING else [key]:
            state = self._states(partition).get(other)
            left = [change for change in known.pop(other, []) if not _contains(state, change)]
            if left or other == key:
                known[other] = left
        return known[key]

    async def _note_end(self, command: Command) -> None:
        """Before the pin itself: a pin without an end would hold for ever, an end without a pin does nothing."""
        told = {"by": command.requested_by, "field": command.field, "key": command.key, "until": command.until}
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            await tell(self._kafka, self._control, f"pin:{command.command_id}", told)


def _contains(state: bytes | None, change: WireChange) -> bool:
    """Whether joining a change into a state would change nothing."""
    return state is not None and not absorb(decode_entity(state), change).changed
