"""A header name that is not UTF-8 costs nobody anything."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition

from agents.header_names import tolerate_header_names
from tests.raw_names import RawName, batch_builder

NAMES = ["a", "\xff\xfe", "c", "\xe9t\xe9"]
GZIP = 1


def batch(first: int, names: list[str], codec: int) -> bytes:
    """A record batch with one record for each name, from offset `first` on."""
    builder = batch_builder(codec)
    for place, name in enumerate(names):
        headers = [("before", b"1"), (RawName(name), b"x"), ("after", None)]
        builder.append(place, timestamp=5, key=b"k", value=b"%d" % (first + place), headers=headers)
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def read(data: bytes, start: int) -> tuple[list[Any], int]:
    """What a consumer gets of a fetch that began at an offset, and where it goes on."""
    tolerate_header_names()
    records = fetcher.PartitionRecords(
        TopicPartition("t", 0), fetcher.MemoryRecords(data), None, start, None, None, check_crcs=True, isolation_level=0
    )
    return list(records), records.next_fetch_offset


@pytest.mark.parametrize("codec", [0, GZIP])
@pytest.mark.parametrize("start", range(8))
def test_every_record_is_read_once_and_in_order(start: int, codec: int) -> None:
    """From any offset on, records before, between and behind those with such names come as they are."""
    log = {1: ["a"], 5: NAMES, 6: ["\xff"], 8: ["d", "e"]}
    # Kafka sends whole batches, from the one on that has the offset.
    data = b"".join(batch(end - len(names), names, codec) for end, names in log.items() if end > start)
    records, following = read(data, start)
    assert [(record.offset, record.value) for record in records] == [(at, b"%d" % at) for at in range(start, 8)]
    assert following == 8


def test_what_is_no_utf8_is_spelled() -> None:
    """The name shows its bytes, in letters that can be written again; other names and the values stay."""
    records, _ = read(batch(0, NAMES, 0), 0)
    assert [record.headers[1][0] for record in records] == ["a", "\\xff\\xfe", "c", "\\xe9t\\xe9"]
    assert all(record.headers[0] == ("before", b"1") and record.headers[2] == ("after", None) for record in records)
    assert all(record.headers[1][1] == b"x" for record in records)
