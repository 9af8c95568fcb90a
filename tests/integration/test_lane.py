"""The lane, the table, the outbox and the worker against a broker, with a kernel that only counts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from agents.fencing import FENCE_KEY
from agents.log_ends import log_ends
from agents.ranges import APPLIED_KEY
from syncline.embedded import ServerProcess, free_port
from tests.agents.counting_kernel import numbers

PARTITIONS = 4
PATIENCE_SECONDS = 60.0


class Lane:
    """One deployment of the counting kernel: its topics, its group, its workers and what they must reach."""

    def __init__(self, kafka: str, directory: Path) -> None:
        self.kafka = kafka
        self.directory = directory
        self.app_id = f"lane{uuid.uuid4().hex[:8]}"
        self.prefix = f"{self.app_id}."
        self.published: dict[bytes, set[int]] = {}

    def environment(self, **more: str) -> dict[str, str]:
        settings = {
            "KAFKA": self.kafka,
            "TOPIC_PREFIX": self.prefix,
            "APP_ID": self.app_id,
            "PARTITIONS": str(PARTITIONS),
            "WEB_PORT": str(free_port()),
            "SESSION_SECONDS": "6",
            "BATCH_RECORDS": "100",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SYNCLINE_")}
        return kept | {f"SYNCLINE_{name}": value for name, value in settings.items()} | more

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process; killed at the end if it still runs."""
        log = self.directory / f"worker-{uuid.uuid4().hex[:6]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.agents.counting_kernel"],
                env=self.environment(**environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process.log = log  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    async def publish(self, count: int, entities: int = 20, start: int = 0) -> None:
        """Publish the numbers from `start` on, spread over entities."""
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            for number in range(start, start + count):
                key = b"e:%d" % (number % entities)
                self.published.setdefault(key, set()).add(number)
                await producer.send(self.prefix + "changes", b"%d" % number, key)
            await producer.flush()

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Log ends by partition."""
        tps = [TopicPartition(self.prefix + topic, p) for p in range(PARTITIONS)]
        return await log_ends(self.kafka, tps)

    async def committed(self) -> dict[TopicPartition, int]:
        """Committed offsets of `changes`, 0 where nothing was committed."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.kafka, group_id=self.app_id, enable_auto_commit=False
        ) as consumer:
            tps = [TopicPartition(self.prefix + "changes", p) for p in range(PARTITIONS)]
            return {tp: await consumer.committed(tp) or 0 for tp in tps}

    async def all_committed(self, worker: subprocess.Popen[bytes] | None = None) -> None:
        """Wait until the committed offsets are exactly the log ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := await self.committed()) != (ends := await self.ends("changes")):
            if worker is not None and worker.poll() is not None:
                pytest.fail(f"worker ended with {worker.returncode}: {worker.log.read_text()[-1500:]}")  # type: ignore[attr-defined]
            if time.monotonic() > deadline:
                pytest.fail(f"committed {found}, log ends {ends}")
            await asyncio.sleep(0.3)

    async def some_committed(self) -> None:
        """Wait until anything is committed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any((await self.committed()).values()):
            assert time.monotonic() < deadline, "nothing was ever committed"
            await asyncio.sleep(0.1)

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic, in order of partition and offset."""
        ends = await self.ends(topic)
        records: list[ConsumerRecord] = []
        async with AIOKafkaConsumer(bootstrap_servers=self.kafka) as consumer:
            consumer.assign(list(ends))
            await consumer.seek_to_beginning(*ends)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for fetched in (await consumer.getmany(timeout_ms=200)).values():
                    records.extend(fetched)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def check(self) -> None:
        """Nothing lost: table, golden records and conflicts hold every published number of every entity."""
        for topic in ("entities-changelog", "records"):
            last = {record.key: record.value for record in await self.read(topic)}
            last.pop(APPLIED_KEY, None)
            last.pop(FENCE_KEY, None)
            assert {key: set(numbers(value)) for key, value in last.items()} == self.published, topic
        told: dict[bytes, set[int]] = {}
        for record in await self.read("conflicts"):
            told.setdefault(record.key, set()).add(int(record.value))
        assert told == self.published


@pytest.fixture
def lane(kafka: ServerProcess, tmp_path: Path) -> Lane:
    """A lane with topics and group of its own."""
    return Lane(kafka.address, tmp_path)


async def until_log_says(worker: subprocess.Popen[bytes], words: str) -> None:
    """Wait until the worker's log has these words."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in worker.log.read_text():  # type: ignore[attr-defined]
        assert worker.poll() is None, worker.log.read_text()[-1500:]  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, f"no {words!r} in {worker.log.read_text()[-1500:]}"  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)


async def test_changes_go_through_and_sigterm_drains(lane: Lane) -> None:
    """Every change is in the table, the records and the conflicts, exactly the log ends are committed, exit 0."""
    with lane.worker() as worker:
        await until_log_says(worker, "Worker ready")
        await lane.publish(1000)
        worker.send_signal(signal.SIGUSR2)
        await lane.all_committed(worker)
        await lane.publish(500, start=1000)
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0
    with lane.worker() as worker:
        await lane.all_committed(worker)
    await lane.check()


async def test_bad_records_go_to_dead_letters_as_they_came(lane: Lane) -> None:
    """What the kernel refuses is kept byte for byte, null as null, with where and why in its headers."""
    large = b"bad" + b"x" * 900_000
    with lane.worker() as worker:
        await until_log_says(worker, "Worker ready")
        await lane.publish(10)
        async with AIOKafkaProducer(bootstrap_servers=lane.kafka, max_request_size=2_000_000) as producer:
            topic = lane.prefix + "changes"
            await producer.send_and_wait(topic, large, b"e:1", partition=1, headers=[("trace", b"7")])
            await producer.send_and_wait(topic, None, b"e:1", partition=1)
        await lane.publish(10, start=10)
        await lane.all_committed(worker)
    letters = await lane.read("dead-letters")
    assert [(letter.key, letter.value) for letter in letters] == [(b"e:1", large), (b"e:1", None)]
    headers = dict(letters[0].headers)
    assert headers["trace"] == b"7"
    assert headers["__connect.errors.topic"] == topic.encode()
    assert headers["__connect.errors.partition"] == b"1"
    assert headers["syncline-reason"] == b"not_avro"
    await lane.check()


async def test_killed_worker_loses_nothing_and_recovers_its_table(lane: Lane) -> None:
    """After SIGKILL in the middle of the work the next worker recovers the table and does the rest."""
    with lane.worker(KERNEL_DELAY_SECONDS="0.2") as worker:
        await until_log_says(worker, "Worker ready")
        await lane.publish(3000)
        await lane.some_committed()
        worker.kill()
        assert await lane.committed() != await lane.ends("changes"), "killed too late to show anything"
    with lane.worker() as worker:
        await lane.all_committed(worker)
        # Old entities get new numbers: the recovered states must be what these are added to.
        await lane.publish(200, start=3000)
        await lane.all_committed(worker)
    await lane.check()


async def test_two_workers_share_and_one_takes_over(lane: Lane) -> None:
    """A second worker joins in the middle, then the first is killed; nothing is lost and all is committed."""
    with ExitStack() as stack:
        first = stack.enter_context(lane.worker(KERNEL_DELAY_SECONDS="0.02"))
        await until_log_says(first, "Worker ready")
        await lane.publish(2000)
        second = stack.enter_context(lane.worker(KERNEL_DELAY_SECONDS="0.02"))
        await until_log_says(second, "Worker ready")
        await lane.publish(1000, start=2000)
        first.kill()
        await lane.publish(1000, start=3000)
        await lane.all_committed(second)
        second.terminate()
        assert second.wait(PATIENCE_SECONDS) == 0
    await lane.check()


async def test_a_stopped_worker_that_goes_on_overwrites_nothing(lane: Lane) -> None:
    """A worker stopped beyond its session sends nothing once it runs again, or ends; what its successor wrote stays."""
    with ExitStack() as stack:
        first = stack.enter_context(lane.worker(KERNEL_DELAY_SECONDS="0.1", SYNCLINE_SEND_SECONDS="5"))
        await until_log_says(first, "Worker ready")
        await lane.publish(3000)
        await lane.some_committed()
        first.send_signal(signal.SIGSTOP)
        second = stack.enter_context(lane.worker())
        await lane.all_committed(second)
        await lane.publish(500, start=3000)
        await lane.all_committed(second)
        first.send_signal(signal.SIGCONT)
        await asyncio.sleep(2.0)
        await lane.publish(500, start=3500)
        await lane.all_committed()
        assert first.poll() in (None, 70)
    await lane.check()
