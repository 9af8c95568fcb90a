"""Header names of any bytes, as clients in other languages can send and ours cannot."""

from __future__ import annotations

from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

STATELESS = {"is_transactional": 0, "producer_id": -1, "producer_epoch": -1, "base_sequence": 0}


class RawName(str):
    """A header name that is written as the bytes of its Latin-1 characters."""

    def encode(self, *_: Any) -> bytes:
        return super().encode("latin-1")


def batch_builder(codec: int = 0) -> Any:
    """A builder of record batches that takes such names; aiokafka's quick one checks. codec: Kafka's number."""
    return _DefaultRecordBatchBuilderPy(magic=2, compression_type=codec, batch_size=1 << 30, **STATELESS)
