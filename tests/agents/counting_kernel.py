"""A small kernel for tests of the machinery: it counts, so that a change lost or taken twice shows.

A change is `number` as text; the state of an entity is the position and the set of its numbers. `bad`
goes to dead letters. Run as a program, it is a worker on that kernel.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence

from agents.resolve import StoredStates
from streams.effects import BatchEffects, DeadLetter, InputRecord, ViewRow


def position_of(state: bytes) -> int:
    """The position at the head of a state."""
    return int(state.split(b" ", 1)[0])


def empty_state(partition: int, offset: int) -> bytes:
    """A state that has nothing but a position."""
    return b"%d []" % offset


def numbers(state: bytes | None) -> list[int]:
    """The numbers an entity has had, sorted."""
    return [] if state is None else json.loads(state.split(b" ", 1)[1])


class CountingKernel:
    """Idempotent and commutative, as the real one. delay_seconds: to be slow on purpose, per batch."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self.delay_seconds = delay_seconds
        self.forgotten: list[int] = []

    def forget(self, partition: int) -> None:
        self.forgotten.append(partition)

    def resolve_batch(self, partition: int, records: Sequence[InputRecord], states: StoredStates) -> BatchEffects:
        time.sleep(self.delay_seconds)
        effects = BatchEffects()
        touched: dict[bytes, tuple[int, set[int]]] = {}
        for index, record in enumerate(records):
            if record.key is None or record.value is None or record.value.startswith(b"bad"):
                effects.dead_letters.append(DeadLetter(index, "not_avro", "decode", f"record {index} is bad"))
                continue
            position, held = touched.get(record.key) or self._held(states.get(record.key))
            number = int(record.value)
            if number in held:
                effects.count("duplicate")
            touched[record.key] = max(position, record.offset), held | {number}
            effects.count("applied")
            effects.conflicts.append((record.key, record.value))
        for key, (position, held) in touched.items():
            state = b"%d %s" % (position, json.dumps(sorted(held)).encode())
            effects.states.append((key, state))
            effects.records.append((key, state))
            effects.view.append(ViewRow(key, state.decode(), "{}", "[]", position))
        return effects

    def reemit(self, partition: int, key: bytes, stored: bytes) -> BatchEffects:
        effects = BatchEffects()
        effects.records.append((key, stored))
        effects.view.append(ViewRow(key, stored.decode(), "{}", "[]", position_of(stored)))
        return effects

    @staticmethod
    def _held(state: bytes | None) -> tuple[int, set[int]]:
        return (-1, set()) if state is None else (position_of(state), set(numbers(state)))


if __name__ == "__main__":
    from agents.app import build
    from agents.settings import load_settings
    from agents.worker import run

    delay = float(os.environ.get("KERNEL_DELAY_SECONDS", "0"))
    run(build(load_settings(), kernel=CountingKernel(delay), position_of=position_of, empty_state=empty_state), "info")
    sys.exit(1)
