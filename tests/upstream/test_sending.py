"""How Faust sends, which is why the outbox sends by itself and awaits what Kafka says."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.transaction_manager import TransactionManager
from faust.transport.producer import ProducerBuffer

from agents.fencing import NUMBERED_BY
from streams.topics import MIB
from tests.upstream.canary import canary, new_app

MESSAGES = 5


class SlowChannel:
    """A channel whose broker takes longer than a flush waits."""

    def __init__(self) -> None:
        self.sent = 0
        self.all_sent = asyncio.Event()

    async def publish_message(self, future: Any, wait: bool = False) -> None:
        await asyncio.sleep(0.3)
        self.sent += 1
        if self.sent == MESSAGES:
            self.all_sent.set()


async def test_flush_gives_up_when_the_broker_is_slow() -> None:
    """A flush returns with messages unsent when one of them takes more than 0.1 s; Faust commits after it.

    Worked around in agents/outbox.py: nothing of ours goes through Faust's producer buffer.
    """
    channel, buffer = SlowChannel(), ProducerBuffer()
    buffer.app = new_app()
    await buffer.start()
    for _ in range(MESSAGES):
        buffer.put(SimpleNamespace(message=SimpleNamespace(channel=channel)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await buffer.flush()
    with canary("agents/outbox.py"):
        assert channel.sent < MESSAGES
        assert buffer.size > 0
    await channel.all_sent.wait()
    await buffer.stop()


async def test_a_failed_send_stops_nothing() -> None:
    """A changelog record that Kafka did not take is logged and told to a future that nobody awaits.

    Worked around in agents/outbox.py: a batch whose records are not all acknowledged ends the process.
    """
    app = new_app()
    topic = app.Table("s", default=int).changelog_topic
    message = topic.as_future_message(key="k", value=1, key_serializer="json", value_serializer="json")
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(KafkaTimeoutError())
    topic._on_published(failed, message=message, producer=app.producer, state=None)
    with canary("agents/outbox.py"):
        assert (app.crashed, app.should_stop) == (False, False)
        assert isinstance(message.exception(), KafkaTimeoutError)


async def test_the_producer_is_not_idempotent() -> None:
    """At least once, Faust's producer numbers nothing: a send that is repeated may arrive twice, and in another order.

    Worked around in agents/lane.py: LaneProducer._settings_extra.
    """
    with canary("agents/lane.py"):
        assert dict(new_app().producer._settings_extra()) == {}


async def test_a_batch_takes_any_first_record() -> None:
    """A batch that is empty takes a record of any size, and refuses a second one by returning None.

    Relied on by agents/outbox.py: Outbox._send_rows begins a new batch then, and leaves nothing out.
    """
    producer = AIOKafkaProducer(max_batch_size=MIB // 2)
    row = {"key": b"k", "value": bytes(10 * MIB), "timestamp": None, "headers": []}
    batch = producer.create_batch()
    with canary("agents/outbox.py"):
        assert batch.append(**row) is not None
        assert batch.append(**row) is None
        assert batch.record_count() == 1


async def test_a_batch_is_numbered_at_once() -> None:
    """Of a batch, aiokafka asks for the sequence number first, and then for id and epoch before anybody else may ask.

    Relied on by agents/fencing.py: each partition has an id and an epoch of its own.
    """
    asked: list[str] = []

    class Listening(TransactionManager):
        def sequence_number(self, tp: Any) -> int:
            asked.append(f"number of {tp.partition}")
            return super().sequence_number(tp)

        @property
        def producer_id(self) -> int:
            asked.append("id")
            return 7

        @property
        def producer_epoch(self) -> int:
            asked.append("epoch")
            return 1

    numbers = Listening(None, 60_000)
    numbers.set_pid_and_epoch(7, 1)
    with canary("agents/fencing.py"):
        producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
        for part in (producer, producer._sender, producer._message_accumulator):
            assert isinstance(vars(part)[NUMBERED_BY], TransactionManager)
        assert "await" not in inspect.getsource(MessageAccumulator._pop_batch)
        accumulator = producer._message_accumulator
        setattr(accumulator, NUMBERED_BY, numbers)
        batch = producer.create_batch()
        batch.append(key=b"k", value=b"v", timestamp=None)
        place = TopicPartition("t", 3)
        accumulator._batches[place].append(MessageBatch(place, batch, 60, 0))
        accumulator._pop_batch(place)
        assert asked == ["number of 3", "id", "epoch"]
