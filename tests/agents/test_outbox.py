"""The outbox: the order of effects, what it does with a Kafka that is slow or says no, and its limits."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from agents.dead_letters import Row
from agents.outbox import OffsetRange, Outbox, Parcel


class Batch:
    """A record batch that holds three records."""

    def __init__(self) -> None:
        self.rows: list[bytes | None] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: list[Any]) -> object:
        if len(self.rows) == 3:
            return None
        self.rows.append(value)
        return self

    def close(self) -> None: ...

    def record_count(self) -> int:
        return len(self.rows)


class Kafka:
    """A producer that acknowledges when it is told to, and writes down what came when."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.pending: list[tuple[str, int, int, asyncio.Future[Any]]] = []
        self.ends: dict[tuple[str, int], int] = {}
        self.at_once = True

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        self.events.append(("sent", topic, partition))
        offset = self.ends.get((topic, partition), 0)
        self.ends[topic, partition] = offset + len(batch.rows)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.pending.append((topic, partition, offset, future))
        if self.at_once:
            self.acknowledge()
        return future

    def acknowledge(self) -> None:
        for topic, partition, offset, future in self.pending:
            self.events.append(("acknowledged", topic, partition))
            future.set_result(SimpleNamespace(offset=offset))
        self.pending.clear()


def outbox_of(kafka: Kafka, **changed: Any) -> tuple[Outbox, list[tuple[int, str]]]:
    """An outbox over it, and the list of its failures."""
    failures: list[tuple[int, str]] = []

    def fail(code: int, line: str) -> None:
        failures.append((code, line))
        raise asyncio.CancelledError  # stands for a process that is gone

    settings: dict[str, Any] = {"deadline_seconds": 5.0, "batches_in_flight": 2, "fail": fail} | changed
    return Outbox(lambda: kafka, **settings), failures  # type: ignore[arg-type,return-value]


def parcel(name: str, count: int = 1) -> Parcel:
    """One conflict, and so many states and records."""
    rows = [Row(b"k", name.encode())] * count
    return Parcel(first={"dead": [], "conflicts": [Row(b"k", name.encode())]}, second={"states": rows, "records": rows})


async def turns(count: int = 20) -> None:
    """Let the event loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_conflicts_are_acknowledged_before_states_are_sent() -> None:
    """The second step begins only when Kafka has the first, and the batch is delivered only after both."""
    kafka, delivered = Kafka(), []
    kafka.at_once = False
    outbox, _ = outbox_of(kafka)
    await outbox.room(0)

    async def note(ranges: dict[str, OffsetRange]) -> None:
        delivered.append(ranges)

    outbox.send(0, parcel("a", count=4), note)
    await turns()
    assert kafka.events == [("sent", "conflicts", 0)]
    kafka.acknowledge()
    await turns()
    # Four records in batches of three: two batches for each topic.
    assert sorted(kafka.events[2:]) == [("sent", "records", 0)] * 2 + [("sent", "states", 0)] * 2
    assert not delivered
    kafka.acknowledge()
    await outbox.drained()
    assert delivered == [{"states": OffsetRange(0, 4, True), "records": OffsetRange(0, 4, True)}]


async def test_batches_of_a_partition_are_delivered_in_order_and_partitions_overlap() -> None:
    """The states of a batch wait for those of the one before; another partition waits for neither."""
    kafka, order = Kafka(), []
    kafka.at_once = False
    outbox, _ = outbox_of(kafka)

    def noting(name: str) -> Any:
        async def note(ranges: dict[str, OffsetRange]) -> None:
            order.append(name)

        return note

    for partition, name in ((0, "a"), (0, "b"), (1, "c")):
        await outbox.room(partition)
        outbox.send(partition, parcel(name), noting(name))
    for _ in range(10):
        await turns()
        states = [event for event in kafka.events if event[1] == "states" and event[2] == 0]
        assert [event[0] for event in states] == ["sent", "acknowledged", "sent", "acknowledged"][: len(states)]
        kafka.acknowledge()
    await outbox.drained()
    assert sorted(order) == ["a", "b", "c"]
    assert order.index("a") < order.index("b")
    assert order.index("c") < order.index("b")


async def test_only_so_many_batches_are_in_flight() -> None:
    """With all places of a partition taken, room waits until a batch is delivered."""
    kafka = Kafka()
    kafka.at_once = False
    outbox, _ = outbox_of(kafka, batches_in_flight=2)

    async def nothing(ranges: dict[str, OffsetRange]) -> None: ...

    for _ in range(2):
        await outbox.room(0)
        outbox.send(0, parcel("a"), nothing)
    waiting = asyncio.create_task(outbox.room(0))
    await turns()
    assert not waiting.done()
    while len(outbox):
        kafka.acknowledge()
        await turns()
    assert waiting.done()


async def test_late_acknowledgement_fails_and_delivers_nothing() -> None:
    """Kafka not answering within the deadline ends the process; neither this nor a later batch is acknowledged."""
    kafka, delivered = Kafka(), []
    kafka.at_once = False
    outbox, failures = outbox_of(kafka, deadline_seconds=0.05)

    async def note(ranges: dict[str, OffsetRange]) -> None:
        delivered.append(ranges)

    await outbox.room(3)
    outbox.send(3, parcel("a"), note)
    await outbox.drained()
    assert [code for code, _ in failures] == [70]
    assert "partition 3" in failures[0][1]
    assert not delivered


async def test_refused_send_fails() -> None:
    """An error of a send is never swallowed."""
    kafka = Kafka()
    kafka.at_once = False
    outbox, failures = outbox_of(kafka)

    async def nothing(ranges: dict[str, OffsetRange]) -> None: ...

    await outbox.room(0)
    outbox.send(0, parcel("a"), nothing)
    await turns()
    kafka.pending[0][3].set_exception(OSError("no"))
    kafka.pending.clear()
    await outbox.drained()
    assert [code for code, _ in failures] == [70]


async def test_a_worker_that_may_have_been_replaced_sends_nothing() -> None:
    """Without a recent word from the group not a single record goes out."""
    kafka = Kafka()
    outbox, failures = outbox_of(kafka, still_member=lambda: False, deadline_seconds=0.05)

    async def nothing(ranges: dict[str, OffsetRange]) -> None: ...

    await outbox.room(0)
    outbox.send(0, parcel("a"), nothing)
    await outbox.drained()
    assert "another may own the partition" in failures[0][1]
    assert kafka.events == []


async def test_a_send_ends_before_the_session() -> None:
    """A send that membership let begin ends, with the process, before another worker can own the partition."""
    kafka = Kafka()
    kafka.at_once = False
    outbox, failures = outbox_of(kafka, session_left=lambda: 0.05, deadline_seconds=60.0)

    async def nothing(ranges: dict[str, OffsetRange]) -> None: ...

    await outbox.room(0)
    outbox.send(0, parcel("a"), nothing)
    async with asyncio.timeout(30):
        await outbox.drained()
    assert "before the group's session may have ended" in failures[0][1]


async def test_a_worker_that_is_confirmed_again_goes_on() -> None:
    """After an outage during which nobody was replaced the sends are made up for."""
    kafka, answers = Kafka(), iter([False, False])
    outbox, failures = outbox_of(kafka, still_member=lambda: next(answers, True))

    async def nothing(ranges: dict[str, OffsetRange]) -> None: ...

    await outbox.room(0)
    outbox.send(0, parcel("a"), nothing)
    await outbox.drained()
    assert (failures, len(kafka.events)) == ([], 6)


async def test_offsets_with_a_stranger_between_are_not_whole() -> None:
    """When another writer's record lies between our parts, the range says so."""
    kafka, seen = Kafka(), []
    kafka.at_once = False
    outbox, _ = outbox_of(kafka)

    async def note(ranges: dict[str, OffsetRange]) -> None:
        seen.append(ranges["records"])

    await outbox.room(0)
    outbox.send(0, Parcel(first={}, second={"records": [Row(b"k", b"v")] * 6}), note)
    await turns()
    topic, partition, offset, future = kafka.pending[1]
    kafka.pending[1] = (topic, partition, offset + 5, future)
    kafka.acknowledge()
    await outbox.drained()
    assert seen == [OffsetRange(0, 11, False)]
