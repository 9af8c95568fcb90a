"""Records of a changelog come as they were parsed, those of other topics as aiokafka's consumer makes them."""

from __future__ import annotations

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from agents.bare_records import BareRecords

HEADERS = [("h", b"1")]


def fetched(tp: TopicPartition) -> FetchResult:
    """What the fetcher makes of a batch of two records."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 10_000)
    for offset, value in enumerate((b"v", None)):
        batch.append(offset, 1000 + offset, b"k", value, HEADERS)
    records = PartitionRecords(tp, MemoryRecords(bytes(batch.build())), None, 0, None, None, True, 0)
    return FetchResult(tp, assignment=None, partition_records=records, backoff=0.0)


def test_only_records_of_these_topics_are_bare() -> None:
    """Both kinds say the same, but for topic and partition."""
    found = BareRecords({"changelog"})
    bare, whole = TopicPartition("changelog", 0), TopicPartition("changes", 0)
    for tp in (bare, whole):
        found[tp] = fetched(tp)
    of_bare, of_whole = (list(found[tp]._partition_records) for tp in (bare, whole))
    assert {type(record) for record in of_bare} == {DefaultRecord}
    assert {type(record) for record in of_whole} == {ConsumerRecord}
    said = [
        [(one.offset, one.timestamp, one.timestamp_type, one.key, one.value, tuple(one.headers)) for one in records]
        for records in (of_bare, of_whole)
    ]
    assert said[0] == said[1] == [(0, 1000, 0, b"k", b"v", tuple(HEADERS)), (1, 1001, 0, b"k", None, tuple(HEADERS))]


def test_an_error_passes() -> None:
    """What the fetcher could not fetch lies where it would have lain."""
    found = BareRecords({"changelog"})
    error = FetchError(error=ValueError(), backoff=0.0)
    found[TopicPartition("changelog", 0)] = error
    assert found == {TopicPartition("changelog", 0): error}
