"""Bad input through a real broker: each record ends in dead letters byte for byte, and nothing stops."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.settings import Settings
from agents.topics import prepare_topics
from schemas.avro_binary import encode_long, encode_string
from schemas.canonical import INT_MAX, INT_MIN
from schemas.change import Change
from schemas.codec import encode_change
from streams.topics import CHANGES, DEAD_LETTERS, MIB
from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings

KEY = b"customer:1"
YEAR_2999 = 32_472_144_000_000
NO_BODY = encode_long(0)
POLICY = "sources: {crm: {}}\n"


def change(**more: Any) -> dict[str, Any]:
    form = {"event_id": "e", "entity_type": "customer", "entity_id": "1", "op": "update", "source": "crm"}
    return {**form, "version": 1, "occurred_at": 1_000, "seen": None, "before": None, "fields": {}, **more}


GOOD = encode_change(Change(**change(fields={"name": "Ann"})))


def by_hand(version: int = 1, occurred_at: int = 1_000, fields: bytes = NO_BODY) -> bytes:
    """A framed change that our own encoder would refuse to write. fields: its encoded map."""
    update = b"\x02"
    return b"".join(
        [
            *(GOOD[:5], encode_string("e"), encode_string("customer"), encode_string("1"), update),
            *(encode_string("crm"), encode_long(version), encode_long(occurred_at), NO_BODY, NO_BODY, fields),
        ]
    )


def one_field(value: bytes) -> bytes:
    return encode_long(1) + encode_string("name") + value + NO_BODY


def text(content: bytes) -> bytes:
    return b"\x08" + encode_long(len(content)) + content


def json_text(content: str) -> bytes:
    return b"\x0a" + encode_string(content)


@dataclass(frozen=True)
class Bad:
    """What is sent, and the reason with which it must come back."""

    reason: str
    value: bytes | None
    key: bytes | None = KEY


BAD = {
    "not Avro": Bad("not_avro", b'{"op": "update"}'),
    "unknown schema id": Bad("unknown_schema", b"\x00\x00\x01\x00\x00" + GOOD[5:]),
    "schema id of another record": Bad("unknown_schema", b"\x00\x00\x00\x00\x02" + GOOD[5:]),
    "no bytes": Bad("not_avro", b""),
    "one byte": Bad("truncated", GOOD[:1]),
    "truncated": Bad("truncated", GOOD[:-4]),
    "text that is not UTF-8": Bad("not_utf8", by_hand(fields=one_field(text(b"\xff\xfe")))),
    "key that is not UTF-8": Bad("not_utf8", GOOD, b"customer:\xff"),
    "null key": Bad("null_key", GOOD, None),
    "empty key": Bad("key_mismatch", GOOD, b""),
    "null value": Bad("null_value", None),
    "key that differs from the body": Bad("key_mismatch", GOOD, b"customer:2"),
    "undeclared source": Bad("unknown_source", encode_change(Change(**change(source="web")))),
    "version 0": Bad("bad_version", by_hand(version=0)),
    "version -1": Bad("bad_version", by_hand(version=-1)),
    "year 2999": Bad("clock_skew", by_hand(occurred_at=YEAR_2999)),
    "nanoseconds": Bad("clock_skew", by_hand(occurred_at=time.time_ns())),
    "the end of time": Bad("clock_skew", by_hand(occurred_at=INT_MAX)),
    "NaN": Bad("bad_value", by_hand(fields=one_field(b"\x06" + struct.pack("<d", float("nan"))))),
    "infinity": Bad("bad_value", by_hand(fields=one_field(b"\x06" + struct.pack("<d", float("inf"))))),
    "10 MiB": Bad("too_large", by_hand(fields=one_field(text(b"x" * (10 * MIB))))),
    "a value of 100 KiB": Bad("value_too_large", by_hand(fields=one_field(text(b"x" * 100_000)))),
    "5,000 levels": Bad("too_deep", by_hand(fields=one_field(json_text("[" * 5_000 + "]" * 5_000)))),
    "20 million entries in five bytes": Bad("truncated", by_hand(fields=encode_long(20_000_000))),
    "20 million nulls under no known schema": Bad("unknown_schema", b"\x00\x00\x00\x00\x63" + encode_long(20_000_000)),
}


async def started_worker(settings: Settings, directory: Path) -> WorkerProcess:
    """A worker whose topics are there: on the embedded broker whoever names a topic first makes it, in its own way."""
    await prepare_topics(settings)
    return WorkerProcess(settings, directory / "worker.log")


async def send(deployment: Deployment, records: list[tuple[bytes | None, bytes | None]]) -> list[int]:
    """Offsets in partition 0, where all of them go."""
    topic = CHANGES.full_name(deployment.topic_prefix)
    async with AIOKafkaProducer(bootstrap_servers=deployment.kafka, max_request_size=20 * MIB) as producer:
        return [(await producer.send_and_wait(topic, value, key, partition=0)).offset for key, value in records]


async def dead_letters(deployment: Deployment, count: int) -> list[Any]:
    """The first records of partition 0 of dead letters."""
    partition = TopicPartition(DEAD_LETTERS.full_name(deployment.topic_prefix), 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.kafka, max_partition_fetch_bytes=20 * MIB)
    async with consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        found: list[Any] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=1_000)).values():
                    found += records
        return found


async def test_bad_input_is_kept_and_stops_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """Each bad record comes back as received, with where it was and why; good ones between them are resolved."""
    policy = tmp_path / "syncline.yaml"
    policy.write_text(POLICY)
    # One partition: whatever the key is, or is not, the good change behind it waits its turn.
    shell = Shell(deployment, SYNCLINE_CONFIG=str(policy), SYNCLINE_PARTITIONS="1")
    worker = await started_worker(worker_settings(deployment, config=str(policy), partitions=1), tmp_path)
    sent: list[tuple[bytes | None, bytes | None]] = []
    for number, bad in enumerate(BAD.values(), 1):
        good = encode_change(Change(**change(version=number, fields={"count": number})))
        sent += [(bad.key, bad.value), (KEY, good)]
    offsets = await send(deployment, sent)
    await asyncio.to_thread(shell.out, "wait", "--timeout", "90")
    letters = await dead_letters(deployment, len(BAD))

    for letter, offset, (name, bad) in zip(letters, offsets[::2], BAD.items(), strict=True):
        headers = dict(letter.headers)
        assert (letter.key, letter.value) == (bad.key, bad.value), name
        assert headers["syncline-reason"].decode() == bad.reason, name
        assert headers["__connect.errors.topic"].decode() == CHANGES.full_name(deployment.topic_prefix)
        assert (headers["__connect.errors.partition"], int(headers["__connect.errors.offset"])) == (b"0", offset)
        assert headers["__connect.errors.exception.message"], name
    assert f'"count":{len(BAD)}' in await asyncio.to_thread(shell.out, "export", "view")
    # The very process that was started: nothing restarted it, and it drains as ever.
    assert worker.stop() == 0


async def test_times_that_are_let_in_hijack_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """Whatever old time, or time just ahead, others wrote, who has read it replaces it; a replay decides the same."""
    shell = Shell(deployment, SYNCLINE_PARTITIONS="1")
    worker = await started_worker(worker_settings(deployment, partitions=1), tmp_path)
    now = time.time_ns() // 10**6
    poison = {
        "first": INT_MIN,
        "before": -1,
        "zero": 0,
        "ahead": now + 50_000,
        "late": YEAR_2999,
        "over": now + 3_600_000,
    }
    forms = [change(source=name, occurred_at=at, fields={"f": name}) for name, at in poison.items()]
    forms.append(change(occurred_at=now, seen=dict.fromkeys(poison, 1), fields={"f": "honest"}))
    await send(deployment, [(KEY, encode_change(Change(**form))) for form in forms])
    await asyncio.to_thread(shell.out, "wait", "--timeout", "90")
    letters = await dead_letters(deployment, 2)
    assert [dict(letter.headers)["syncline-reason"] for letter in letters] == [b"clock_skew"] * 2
    assert json.loads(await asyncio.to_thread(shell.out, "export", "view"))["fields"] == {"f": "honest"}
    rows = json.loads(await asyncio.to_thread(shell.out, "digest", "table", "records", "view", "replay", "-o", "json"))
    assert len({row["sha256"] for row in rows}) == 1
    assert "honest" in await asyncio.to_thread(shell.out, "explain", KEY.decode())
    assert worker.stop() == 0
