"""A topic that a source has of its own is copied into `changes`, by a consumer group that all workers share."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from agents.ingest.topic_ingest import dead_letter
from agents.topics import prepare_topics
from schemas.change import Change
from schemas.codec import decode_change, encode_change
from schemas.refusal import Limits, Refusal
from syncline.topic_reader import partitions_of
from tests.conftest import Deployment
from tests.faults.alterations import delete_records
from tests.ingest.arrivals import make_topic, until, update
from tests.ingest.copying import PARTITIONS, Copying, line


@pytest.fixture
async def copying(deployment: Deployment) -> Copying:
    """With a topic of three partitions, where `changes` has two."""
    copying = Copying(deployment)
    await prepare_topics(copying.settings)
    await make_topic(deployment.kafka, copying.topic, PARTITIONS)
    return copying


def framed(number: int, version: int, source: str = "crm") -> tuple[int, bytes, bytes]:
    """A row with a change of customer `number` in our own framing."""
    change = Change.fill(update(number, {"v": version}, source=source), version, 1_000)
    return number % PARTITIONS, str(number).encode(), encode_change(change)


async def test_lines_and_frames_are_copied_and_what_is_neither_goes_to_dead_letters(copying: Copying) -> None:
    """A dead letter has the bytes as received, where they came from and why; nothing else stops for it."""
    bad: list[tuple[int, bytes | None, bytes | None]] = [
        (0, b"k", b"{"),
        (1, b"k", None),
        (2, b"k", framed(1, 5, "billing")[2]),
        (0, None, json.dumps(update(1, {}, source="billing")).encode()),
        (1, b"k", b"\0\0\0\0\1cut"),
        (2, b"k", b"[1]"),
    ]
    good = [line(number % 9, {"n": number}) for number in range(300)]
    await copying.send([*bad[:3], *good[:150], framed(77, 5), *bad[3:], *good[150:]])
    async with copying.worker():
        await copying.copied_up()
    await copying.verify()
    letters = await copying.read(copying.names.dead_letters)
    told = [
        (*(headers[f"__connect.errors.{name}"].decode() for name in ("topic", "partition")), record.key, record.value)
        for record in letters
        for headers in [dict(record.headers)]
    ]
    assert sorted(told, key=repr) == sorted(
        [(copying.topic, str(partition), key, value) for partition, key, value in bad], key=repr
    )
    reasons = sorted(dict(record.headers)["syncline-reason"].decode() for record in letters)
    assert reasons == ["bad_shape", "bad_value", "foreign_source", "foreign_source", "not_avro", "null_value"]


async def test_limits_of_another_policy_hold_for_what_is_copied_from_then_on(copying: Copying) -> None:
    """Without a new start; what was taken before stays."""
    long = line(1, {"note": "x" * 100})
    async with copying.worker():
        await copying.send([long])
        await copying.copied_up()
        copying.limits = Limits(value_bytes=50)
        await copying.send([long, line(1, {"note": "y"})])
        await copying.copied_up()
    assert len(await copying.read(copying.names.changes)) == 2
    (letter,) = await copying.read(copying.names.dead_letters)
    assert dict(letter.headers)["syncline-reason"] == b"value_too_large"


async def test_two_workers_keep_the_order_of_each_entity(copying: Copying) -> None:
    """Whoever copies it, and however often the partitions move, an entity's changes come in the order they were in."""
    async with copying.worker():
        await copying.send([line(number % 9, {"n": number}) for number in range(300)])
        async with copying.worker():
            await copying.send([line(number % 9, {"n": number}) for number in range(300, 600)])
            await copying.copied_up()
        await copying.send([line(number % 9, {"n": number}) for number in range(600, 900)])
        await copying.copied_up()
    await copying.verify()
    versions: dict[str, list[int]] = {}
    for record in await copying.read(copying.names.changes):
        change = decode_change(record.value)
        kept = versions.setdefault(change.key, [])
        if change.version not in kept:  # a record that was read twice
            kept.append(change.version)
    assert all(kept == sorted(kept) for kept in versions.values())
    assert sum(map(len, versions.values())) == 900


async def test_what_is_copied_again_is_the_same_change(copying: Copying) -> None:
    """From wherever a group reads on, a record becomes the bytes that it became before: a duplicate for the merge."""
    await copying.send([line(number % 4, {"n": number}) for number in range(200)])
    async with copying.worker():
        await copying.copied_up()
    once = [(record.key, record.value) for record in await copying.read(copying.names.changes)]
    copying.group = f"{copying.group}-again"
    async with copying.worker():
        await copying.copied_up()
        await copying.send([line(1, {"n": "last"})])
        await copying.copied_up()
    twice = [(record.key, record.value) for record in await copying.read(copying.names.changes)]
    assert len(once) == len(set(once)) == 200
    assert len(twice) == 401
    assert len(set(twice)) == 201
    await copying.verify()


@pytest.mark.real_kafka
async def test_versions_go_on_from_what_was_committed(copying: Copying) -> None:
    """Records of one millisecond, and of the one before, have versions that rise, whichever worker reads them."""
    burst = [line(3, {"n": number}) for number in range(100)]
    await copying.send(burst[:50], timestamp_ms=5_000)
    async with copying.worker():
        await copying.copied_up()
    await copying.send(burst[50:], timestamp_ms=4_999)
    async with copying.worker():
        await copying.copied_up()
    versions = [decode_change(record.value).version for record in await copying.read(copying.names.changes)]
    assert versions == [(5_000 << 16) + number for number in range(100)]
    await copying.verify()


@pytest.mark.real_kafka
async def test_records_that_were_deleted_unread_raise_an_alarm(
    copying: Copying, caplog: pytest.LogCaptureFixture
) -> None:
    """First and last offset are told, as they are for `changes`; what is left is copied."""
    await copying.send([line(1, {"n": number}) for number in range(10)])
    async with copying.worker():
        await copying.copied_up()
    await copying.send([line(1, {"n": number}) for number in range(10, 20)])
    await asyncio.to_thread(delete_records, copying.settings.kafka, {TopicPartition(copying.topic, 1): 15})
    with caplog.at_level(logging.ERROR):
        async with copying.worker():
            await copying.copied_up()
    assert "offsets 10 to 14 were deleted before they were read" in caplog.text
    changes = [decode_change(record.value) for record in await copying.read(copying.names.changes)]
    assert [change.fields["n"] for change in changes] == [str(number) for number in (*range(10), *range(15, 20))]


def test_of_a_value_that_is_too_large_for_a_dead_letter_the_beginning_is_kept() -> None:
    """Kafka would refuse it for ever, and nothing behind it would be copied."""
    record = SimpleNamespace(topic="t", partition=1, offset=2, key=b"k", value=b"x" * (13 << 20), headers=())
    row = dead_letter(record, Refusal("too_large", "a change has too many bytes"))
    assert row.value == b"x" * (64 << 10)
    assert dict(row.headers)["syncline-reason"] == b"too_large"


async def test_a_topic_may_come_later(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source's topic that is not there is waited for, and not made by us."""
    monkeypatch.setattr("agents.ingest.topic_ingest.LOOK_SECONDS", 0.2)
    copying = Copying(deployment)
    await prepare_topics(copying.settings)
    async with copying.worker() as worker:

        async def looked() -> bool:
            return worker._looked_at > 0

        await until(looked)
        assert await partitions_of(deployment.kafka, copying.topic) == []
        await make_topic(deployment.kafka, copying.topic, PARTITIONS)
        await copying.send([line(1, {"n": 1})])
        await copying.copied_up()
    await copying.verify()
