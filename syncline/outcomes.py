"""Sends commands to the workers and tells what became of each: a change in `changes`, or a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from aiokafka import ConsumerRecord, TopicPartition

from agents.dead_letters import CONNECT
from agents.kafka_producer import started_producer
from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.settings import Settings
from schemas.codec import decode_change, decode_command, encode_command
from schemas.command import Command
from schemas.refusal import Refusal
from streams.entity import Entity
from streams.entity_codec import decode_entity, position_of
from syncline.terminal import CommandError
from syncline.topic_reader import connected, partition_of, partitions_of

POLL_MS = 100

State = Literal["decided", "refused", "unresolved", "unanswered"]


@dataclass(slots=True)
class Outcome:
    """What became of a command.

    state: decided, and the entity's state has it; refused, for `reason` and with `message`; unresolved, in `changes`
    at `offset` and not in the state in time; unanswered, with no worker in time. entity: its state with the decision.
    """

    command: Command
    state: State = "unanswered"
    reason: str = ""
    message: str = ""
    offset: int = -1
    entity: Entity | None = None

    @property
    def open(self) -> bool:
        """Whether there is something to wait for."""
        return self.state in ("unanswered", "unresolved")


async def carry_out(settings: Settings, commands: Sequence[Command], timeout_seconds: float) -> list[Outcome]:
    """Send commands, in their order, and wait for the outcome of each, or for the time-out. Raises KafkaError.

    What is not answered is not lost: it stands in topic `commands`, and the next worker carries it out.
    """
    names = TopicNames.with_prefix(settings.topic_prefix)
    partitions = await partitions_of(settings.kafka, names.commands)
    if not partitions:
        raise CommandError(f"topic {names.commands} is not there; a worker creates it: syncline worker")
    hearing = Hearing(names, {command.command_id: Outcome(command) for command in commands})
    numbers = {partition_of(command.key.encode(), partitions).partition for command in commands}
    told_in = (names.changes, names.dead_letters, names.changelog)
    followed = [TopicPartition(topic, number) for topic in told_in for number in sorted(numbers)]
    async with connected(settings.kafka) as consumer:
        ends = await log_ends(settings.kafka, followed)
        consumer.assign(followed)
        for place, end in ends.items():
            consumer.seek(place, end)
        await _send(settings.kafka, names.commands, commands)
        deadline = monotonic() + timeout_seconds
        while hearing.waits() and monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    hearing.hear(record)
            hearing.look()
    return list(hearing.outcomes.values())


async def _send(kafka: str, topic: str, commands: Sequence[Command]) -> None:
    producer = await started_producer(kafka)
    try:
        sent = [await producer.send(topic, encode_command(one), one.key.encode()) for one in commands]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


class Hearing:
    """Hears what the workers say, in whatever order it comes from several topics."""

    def __init__(self, names: TopicNames, outcomes: dict[str, Outcome]) -> None:
        self.names, self.outcomes = names, outcomes
        self._states: dict[bytes, bytes] = {}

    def waits(self) -> bool:
        """Whether an outcome is still to come."""
        return any(outcome.open for outcome in self.outcomes.values())

    def hear(self, record: ConsumerRecord[Any, Any]) -> None:
        """Take note of a record of one of the topics."""
        if record.value is None:
            return
        try:
            if record.topic == self.names.changes:
                self._decided(record)
            elif record.topic == self.names.dead_letters:
                self._refused(record)
            else:
                self._states[record.key] = record.value
        except Refusal:
            pass  # somebody else's record, which cannot be read

    def look(self) -> None:
        """Take note of which decisions are in the states heard of by now."""
        for outcome in self.outcomes.values():
            state = self._states.get(outcome.command.key.encode())
            if outcome.state == "unresolved" and state is not None and position_of(state) >= outcome.offset:
                outcome.state, outcome.entity = "decided", decode_entity(state)

    def _decided(self, record: ConsumerRecord[Any, Any]) -> None:
        outcome = self.outcomes.get(_last_part(record.value))
        if outcome is not None and outcome.state == "unanswered":
            outcome.state, outcome.offset = "unresolved", record.offset

    def _refused(self, record: ConsumerRecord[Any, Any]) -> None:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        of_command = headers.get(f"{CONNECT}topic") == self.names.commands
        name = decode_command(record.value).command_id if of_command else _last_part(record.value)
        outcome = self.outcomes.get(name)
        # A worker that ends before the command is acknowledged leaves it to the next one, which refuses a withdrawal
        # that is made already. What was published counts until the change itself is refused.
        if outcome is not None and (outcome.state == "unanswered" or (outcome.open and not of_command)):
            outcome.state = "refused"
            outcome.reason = headers.get("syncline-reason", "")
            outcome.message = headers.get(f"{CONNECT}exception.message", "")


def _last_part(change: bytes) -> str:
    """The command id in the event_id of a decision."""
    return decode_change(change).event_id.rpartition("/")[2]
