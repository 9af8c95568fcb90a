"""Batches and headers that a hostile producer can send: the worker stays, and loses nothing behind them."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.log_ends import log_ends
from agents.topics import prepare_topics
from schemas.change import Change
from schemas.codec import encode_change
from streams.topics import CHANGES, COMMANDS, DEAD_LETTERS, MIB
from tests.conftest import Deployment
from tests.faults.worker import NORMAL, Worker
from tests.integration.shell import Shell, worker_settings
from tests.integration.test_bad_input import GOOD, KEY, change, dead_letters
from tests.raw_names import RawName, batch_builder

SECRET = "secret-topic"
INFLATED_MIB = 200
#: What this bomb made of a worker that had 76 MiB before: 470 MiB, each of its bytes being there twice for a moment.
PEAK_MIB = 1_000

Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


class Hostile:
    """A deployment of one partition with a worker on it, to be used with `async with`."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.shell = Shell(deployment, SYNCLINE_PARTITIONS="1")
        self._settings = worker_settings(deployment, partitions=1)
        self._log = directory / "worker.log"

    async def __aenter__(self) -> Hostile:
        # Before anybody names a topic: on the embedded broker that makes it, in its own way.
        await prepare_topics(self._settings)
        self.worker = Worker(self._settings, self._log, NORMAL, {})
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.end()

    async def send(self, topic: str, rows: Sequence[Row], codec: str | None = None, *, raw: bool = False) -> int:
        """Send rows as one batch; returns its bytes on the wire. raw: header names may be RawName."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.deployment.kafka, compression_type=codec, max_batch_size=2 * INFLATED_MIB * MIB
        ) as producer:
            batch = producer.create_batch()
            if raw:
                batch._builder = batch_builder()
            for key, value, headers in rows:
                assert batch.append(key=key, value=value, timestamp=None, headers=headers) is not None
            batch.close()
            size = len(batch._build())
            await (await producer.send_batch(batch, self.deployment.topic_prefix + topic, partition=0))
        return size

    async def resolved(self) -> None:
        """Wait until all that was sent is resolved and visible, by the very worker that was started."""
        await asyncio.to_thread(self.shell.out, "wait", "--timeout", "90")
        assert self.worker.code is None

    async def end_of(self, topic: str) -> int:
        """Number of records in a topic."""
        tp = TopicPartition(topic, 0)
        return (await log_ends(self.deployment.kafka, [tp]))[tp]

    def fields(self) -> dict[str, Any]:
        """The golden fields of the one entity, in the view."""
        return dict(json.loads(self.shell.out("export", "view"))["fields"])

    def peak_mib(self) -> float:
        """The most memory that the worker ever had."""
        status = Path(f"/proc/{self.worker.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def good(version: int, **fields: Any) -> Row:
    return KEY, encode_change(Change(**change(version=version, fields=fields))), []


async def test_a_batch_that_inflates_a_thousandfold(deployment: Deployment, tmp_path: Path) -> None:
    """A batch of 200 KiB that is 200 MiB ends in dead letters; the worker goes on, within its memory."""
    async with Hostile(deployment, tmp_path) as hostile:
        await hostile.send(CHANGES.name, [good(1, before=True)])
        size = await hostile.send(CHANGES.name, [(KEY, bytes(MIB), [])] * INFLATED_MIB, "gzip")
        await hostile.send(CHANGES.name, [good(2, behind=True)])
        await hostile.resolved()
        assert size < MIB / 4
        assert await hostile.end_of(DEAD_LETTERS.full_name(deployment.topic_prefix)) == INFLATED_MIB
        assert hostile.fields() == {"before": True, "behind": True}
        assert hostile.peak_mib() < PEAK_MIB
        assert hostile.worker.end() == 0


async def test_every_codec_of_kafka_is_read(deployment: Deployment, tmp_path: Path) -> None:
    """What producers in other languages compress as they like is resolved like anything else."""
    codecs = ["gzip", "snappy", "lz4", "zstd"]
    async with Hostile(deployment, tmp_path) as hostile:
        for version, codec in enumerate(codecs, 1):
            await hostile.send(CHANGES.name, [good(version, **{codec: "x" * 1_000})], codec)
        await hostile.resolved()
        assert sorted(hostile.fields()) == sorted(codecs)


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def asking(secret: str) -> list[tuple[str, bytes | None]]:
    """Headers by which Faust's agents are asked to send their answer to a topic."""
    return [("Faust-Ag-ReplyTo", secret.encode()), ("Faust-Ag-CorrelationId", b"1"), ("Faust-Ag-ReplyTo", None)]


def hostile_rows(touched: Path, answered: list[tuple[str, bytes | None]]) -> list[Row]:
    """Rows that are refused, and what they try: to be answered, to name a class, to be run."""
    run = pickle.dumps(Touch(touched))
    named = json.dumps({"__faust": {"ns": "builtins.exec"}, "field": "open('x')"}).encode()
    return [
        (KEY, b"no change", answered),
        (KEY, named, [("content-type", b"application/x-python-serialize")]),
        (KEY, run, answered),
        (run, GOOD, answered),
        (KEY, GOOD[:5] + run, [("pickle", run)]),
        (None, None, [(RawName("\xff\xfe\x80"), b"x"), ("", None), ("a" * 10_000, b"b" * 10_000)]),
    ]


async def test_headers_and_pickles_do_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """No reply is sent where a header says, no payload is run, and headers come back in dead letters as they were."""
    touched = tmp_path / "touched"
    pickle.loads(pickle.dumps(Touch(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()
    secret = deployment.topic_prefix + SECRET
    answered = asking(secret)
    rows = hostile_rows(touched, answered)
    async with Hostile(deployment, tmp_path) as hostile:
        await make_topic(deployment, secret)
        await hostile.send(CHANGES.name, [(KEY, good(1, n=1)[1], answered)])
        await hostile.send(CHANGES.name, rows, raw=True)
        await hostile.send(CHANGES.name, [(KEY, good(2, n=2)[1], [(RawName("\xe9"), b"x")])], raw=True)
        await hostile.send(COMMANDS.name, [(key, value, headers) for key, value, headers in rows[:3]])
        await hostile.resolved()
        letters = await dead_letters(deployment, len(rows) + 3)
        assert hostile.fields() == {"n": 2}
        assert await hostile.end_of(secret) == 0
        assert hostile.worker.end() == 0
    assert not touched.exists()
    from_changes = [letter for letter in letters if dict(letter.headers)["__connect.errors.topic"].endswith(b"changes")]
    assert [(letter.key, letter.value) for letter in from_changes] == [(key, value) for key, value, _ in rows]
    for letter, (_, _, headers) in zip(from_changes[:-1], rows, strict=False):
        assert letter.headers[: len(headers)] == tuple(headers)
    assert from_changes[-1].headers[0] == ("\\xff\\xfe\\x80", b"x")


async def make_topic(deployment: Deployment, name: str) -> None:
    """A topic that anybody may write to."""
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()
