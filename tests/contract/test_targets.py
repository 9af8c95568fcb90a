"""Every target, on a real server, does what a target must do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.targets.file_lock import file_lock
from agents.targets.loading import load_target
from agents.targets.target import Target, TargetUnavailable
from schemas.codec import decode_record
from schemas.policy_document import read_document
from syncline.target_conformance import (
    FIELDS,
    HARD,
    ConformingTarget,
    Harness,
    RefusingTarget,
    Sender,
    assert_contents,
    delivered,
    opened,
    some_fields,
)
from tests.conftest import DATABASE_NUMBERS
from tests.faults.broker import Broker, running_broker
from tests.faults.proxy import Proxy
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.targets.reader import Reader
from tests.targets.web_service import (
    Behaviour,
    Service,
    accepting,
    answering,
    crashing,
    one_by_one,
    resetting,
    running_service,
    silent,
)

NUMBERS = count(1)

STATES = st.none() | st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in HARD.items()}
)
#: What happens to a target: an entity is written, what is due is sent and acknowledged or not, something comes again.
HISTORIES = st.lists(
    st.tuples(st.just("write"), st.sampled_from("abc"), STATES)
    | st.tuples(st.just("send"), st.booleans())
    | st.tuples(st.just("again"), st.lists(st.integers(0, 30), max_size=4)),
    max_size=25,
)
#: Each class is another target, and an example has entities of its own: nothing is shared that must not be.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
EXAMPLES = settings(max_examples=15, deadline=None, database=None, suppress_health_check=SHARED)


class AnyHistory:
    """Beside the suite: Hypothesis looks for a history that ends in something else than what was written last."""

    @EXAMPLES
    @given(history=HISTORIES)
    async def test_any_history_ends_in_the_last_state(self, harness: Harness, history: list[Any]) -> None:
        """Whatever is lost and comes again, the target agrees with a dict in the end."""
        prefix = f"h{next(NUMBERS)}:"
        sender = Sender(prefix)
        for what, *rest in history:
            if what == "write":
                sender.write(*rest)
            elif what == "send":
                batch = sender.batch()
                await harness.target.deliver(batch)
                if rest[0]:
                    sender.acknowledge(batch)
            elif sender.sent:
                await harness.target.deliver([sender.sent[at % len(sender.sent)] for at in rest[0]])
        await harness.target.deliver(sender.batch())
        found = {key: fields for key, fields in (await harness.contents()).items() if key.startswith(prefix)}
        assert_contents(found, sender.expected())


class AnyTrouble:
    """The same while connections are reset, and services lose their answers."""

    async def test_any_trouble_ends_in_the_last_state(self, harness: TroubledHarness) -> None:
        """What was under way may have arrived or not, or arrives later: after some more attempts all is there."""
        chance, sender = random.Random(7), Sender("customer:")
        for _ in range(12):
            for name in chance.sample("abcdef", 4):
                sender.write(name, some_fields(chance))
            batch = sender.batch()
            trouble = asyncio.create_task(harness.trouble())
            with contextlib.suppress(TargetUnavailable):
                await harness.target.deliver(batch)
                sender.acknowledge(batch)
            await trouble
        await delivered(harness.target, sender.batch())
        assert_contents(await harness.contents(), sender.expected())


class TroubledHarness(Harness, Protocol):
    """A harness of something on the other end of a connection."""

    async def trouble(self) -> None:
        """Do something that a delivery that is under way may not survive."""


@dataclass
class BehindProxy:
    """What the harnesses of servers have in common: an outage in which nothing is forwarded."""

    target: Target
    proxy: Proxy

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Connections stay open, and nobody answers."""
        await asyncio.to_thread(self.proxy.half_open)
        yield
        await asyncio.to_thread(self.proxy.heal)

    async def trouble(self) -> None:
        """All connections are reset, whatever is under way."""
        await asyncio.to_thread(self.proxy.reset)


async def loaded(deadline_seconds: float, **said: Any) -> Target:
    """A target as syncline.yaml declares it, open."""
    section = {"timeout": int(deadline_seconds * 1000), **said}
    target = load_target("crm", read_document({"targets": {"crm": section}}).targets["crm"], {})
    await opened(target)
    return target


@dataclass
class HttpHarness:
    """The target, and the service that it talks to."""

    target: Target
    service: Service
    bad: dict[str, Any]
    troubles: deque[Behaviour] = field(default_factory=lambda: deque([crashing, resetting, answering(500)]))

    async def contents(self) -> dict[str, dict[str, Any]]:
        """What the service holds."""
        return self.service.reader.contents

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """It does not answer."""
        before, self.service.always = self.service.always, silent
        yield
        self.service.always = before

    async def trouble(self) -> None:
        """The next answers are lost, after the batch was taken or before."""
        self.service.next.append(self.troubles[0])
        self.troubles.rotate()


class TestHttp(AnyHistory, AnyTrouble, RefusingTarget):
    """A service that refuses a batch as a whole."""

    behaviour: Behaviour = staticmethod(accepting)

    @pytest.fixture
    async def harness(self, deadline_seconds: float) -> AsyncIterator[HttpHarness]:
        """A service that refuses who is called Nobody."""
        async with running_service() as service:
            service.refuses = lambda message: (message["fields"] or {}).get("name") == "Nobody"
            service.always = self.behaviour
            target = await loaded(deadline_seconds, kind="http", url=service.url)
            yield HttpHarness(target, service, {"name": "Nobody"})
            await target.close()


class TestHttpOneByOne(TestHttp):
    """A service that says of each delivery what becomes of it."""

    behaviour = staticmethod(one_by_one)


@dataclass
class PostgresqlHarness(BehindProxy):
    """url: of the database, by the direct way. bad: a record that no table takes, for text there has no NUL."""

    url: str
    table: str
    columns: bool
    bad: dict[str, Any]

    async def contents(self) -> dict[str, dict[str, Any]]:
        """The rows of the table."""
        connection = await asyncpg.connect(self.url)
        try:
            for name in ("json", "jsonb"):
                await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
            rows = [dict(row) for row in await connection.fetch(f"SELECT * FROM {self.table}")]
        finally:
            await connection.close()
        if not self.columns:
            return {row["key"]: row["fields"] for row in rows}
        return {row.pop("key"): {name: value for name, value in row.items() if value is not None} for row in rows}


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    """URL of a database for the tests of this file: to make one takes longer than most of them."""
    return postgres_server.new_database()


class TestPostgresqlDocument(AnyHistory, AnyTrouble, RefusingTarget):
    """A table with all fields in one column."""

    columns: dict[str, str] | None = None

    @pytest.fixture
    async def harness(
        self, deadline_seconds: float, postgres_server: PostgresServer, database: str
    ) -> AsyncIterator[PostgresqlHarness]:
        """A schema of its own, and nothing in it."""
        schema = f"crm{next(NUMBERS)}"
        connection = await asyncpg.connect(database)
        await connection.execute(f"CREATE SCHEMA {schema}")
        await connection.close()
        with Proxy(postgres_server.port) as proxy:
            said: dict[str, Any] = {
                "table": f"{schema}.customers",
                **({"columns": self.columns} if self.columns else {}),
            }
            said["url"] = urlsplit(database)._replace(netloc=f"postgres@{proxy.address}").geturl()
            target = await loaded(deadline_seconds, kind="postgresql", **said)
            bad = {"name": "no\x00body"}
            yield PostgresqlHarness(target, proxy, database, said["table"], self.columns is not None, bad)
            await target.close()


class TestPostgresqlColumns(TestPostgresqlDocument):
    """A table with a column for each field."""

    columns = FIELDS


@dataclass
class RedisHarness(BehindProxy):
    """url: of the database, by the direct way."""

    url: str

    async def contents(self) -> dict[str, dict[str, Any]]:
        """All entries, folded."""
        reader = Reader()
        async with redis.asyncio.Redis.from_url(self.url) as client:
            for _, entry in await client.xrange("crm-records"):
                message = json.loads(entry[b"delivery"])
                assert message["key"].encode() == entry[b"key"]
                reader.take(message)
        return reader.contents


class TestRedisStream(AnyHistory, AnyTrouble, ConformingTarget):
    """A Redis Stream takes everything."""

    @pytest.fixture
    async def harness(self, deadline_seconds: float, redis_server: RedisServer) -> AsyncIterator[RedisHarness]:
        """An empty database."""
        url = redis_server.url(next(DATABASE_NUMBERS))
        with Proxy(redis_server.port) as proxy:
            by_proxy = urlsplit(url)._replace(netloc=proxy.address).geturl()
            target = await loaded(deadline_seconds, kind="redis_stream", url=by_proxy, stream="crm-records")
            yield RedisHarness(target, proxy, url)
            await target.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the tests of this file, with a proxy before it."""
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@dataclass
class KafkaHarness(BehindProxy):
    """consumer: of the topic, by the direct way."""

    topic: str
    consumer: Any
    reader: Reader
    bad: dict[str, Any]

    async def contents(self) -> dict[str, dict[str, Any]]:
        """All records, folded by their headers."""
        partitions = [TopicPartition(self.topic, at) for at in range(3)]
        ends = await self.consumer.end_offsets(partitions)
        while any([await self.consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await self.consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    self.take(record)
        return self.reader.contents

    def take(self, record: Any) -> None:
        """A null has its order in a header alone; an Avro record is complete."""
        generation, offset = map(int, dict(record.headers)["syncline-order"].split(b":"))
        if record.value is None:
            self.reader.take_whole(record.key.decode(), (generation, offset), None)
        elif record.value[:1] == b"{":
            self.reader.take(json.loads(record.value))
        else:
            golden = decode_record(record.value)
            assert golden.key == record.key.decode()
            self.reader.take_whole(golden.key, (generation, offset), golden.fields)


@pytest.mark.real_kafka
class TestKafkaJson(AnyHistory, AnyTrouble, RefusingTarget):
    """A topic with JSON."""

    form = "json"

    @pytest.fixture
    async def harness(self, deadline_seconds: float, broker: Broker) -> AsyncIterator[KafkaHarness]:
        """A topic that is not there yet, on a broker that takes records of 4 MiB."""
        broker.mend()
        topic = f"target-{next(NUMBERS)}"
        target = await loaded(
            deadline_seconds, kind="kafka", kafka=broker.proxy.address, topic=topic, partitions=3, format=self.form
        )
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.direct, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(topic, at) for at in range(3)])
        bad = {"extra": "x" * 4_200_000}
        yield KafkaHarness(target, broker.proxy, topic, consumer, Reader(), bad)
        await consumer.stop()
        await target.close()


@pytest.mark.real_kafka
class TestKafkaAvro(TestKafkaJson):
    """A topic with golden records in Avro, as on `records`."""

    form = "avro"


@dataclass
class JsonLinesHarness:
    """path: of the file."""

    target: Target
    path: Path

    async def contents(self) -> dict[str, dict[str, Any]]:
        """All lines of all files, folded."""
        reader = Reader()
        for file in (*sorted(self.path.parent.glob("out-*.jsonl")), self.path):
            for line in file.read_text().split("\n")[:-1]:
                reader.take(json.loads(line))
        return reader.contents

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Another process has the lock."""
        with file_lock(f"{self.path}.lock", 0):
            yield


class TestJsonLines(AnyHistory, ConformingTarget):
    """A file takes everything."""

    @pytest.fixture
    async def harness(self, deadline_seconds: float, tmp_path: Path) -> AsyncIterator[JsonLinesHarness]:
        """A file that is put aside often."""
        path = tmp_path / "out.jsonl"
        target = await loaded(deadline_seconds, kind="json_lines", path=str(path), rotate_bytes=5000)
        yield JsonLinesHarness(target, path)
        await target.close()
