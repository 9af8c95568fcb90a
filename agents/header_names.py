"""Header names that are not UTF-8: on the wire a name is any bytes, and aiokafka raises out of the fetch for such ones.

The record could then be neither resolved nor put away, and would end every worker that meets it. So its batch is
read again, with each byte that is no UTF-8 spelled `\\xff`. Only dead letters have names, and they have that spelling.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

LENGTH_AT, LENGTH_END = 8, 12  # of a batch: what follows the length itself


class KeptRecords(MemoryRecords):  # type: ignore[misc, valid-type]
    """aiokafka's reader of what was fetched, with the bytes that it reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _Spelled(bytes):
    """Bytes that decode as what they are, whatever they are."""

    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "backslashreplace")


class _Batch(bytearray):
    """The bytes of a batch, whose parts are spelled."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Spelled(part) if isinstance(part, bytearray) else part


class TolerantPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition's fetch, whatever their headers are called."""

    def _unpack_records(self) -> Iterator[Any]:
        unread = True
        while unread:
            try:
                yield from super()._unpack_records()
                unread = False
            except UnicodeDecodeError:
                yield from self._unpack_spelled()

    def _unpack_spelled(self) -> Iterator[Any]:
        """The records left of the batch that could not be read."""
        batch = self._first_unread()
        batch._maybe_uncompress()
        batch._buffer = _Batch(batch._buffer)
        for record in batch:
            if record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                yield self._consumer_record(self._tp, record)
        self.next_fetch_offset = batch.next_offset

    def _first_unread(self) -> Any:
        data, begin = self._records.data, 0
        while True:
            end = begin + LENGTH_END + int.from_bytes(data[begin + LENGTH_AT : begin + LENGTH_END], "big")
            batch = _DefaultRecordBatchPy(data[begin:end])
            if batch.next_offset > self.next_fetch_offset:
                return batch
            begin = end


def tolerate_header_names() -> None:
    """Have every consumer of this process read records with such headers."""
    fetcher.MemoryRecords = KeptRecords
    fetcher.PartitionRecords = TolerantPartitionRecords
