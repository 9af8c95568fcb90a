"""Sends Avro made to be dear to every decoder, and prints `decoder: bomb: reason` for each.

A program of its own, so that a crash or memory that is taken on the word of a few bytes is seen.
"""

from __future__ import annotations

import io
import resource
from collections.abc import Callable
from typing import Any

import fastavro

from schemas import codec, fast
from schemas.avro_binary import encode_long
from schemas.refusal import Refusal
from tests.schemas.test_refusals import GOOD, body, many

MIB = 1 << 20
#: Far below what the promises of these bombs would take, far above what refusing them does.
ADDRESS_SPACE = 1 << 30
PROMISED = (20_000_000, 2**31, 2**62)


def container() -> bytes:
    """An Avro object container file that inflates to 60 MiB."""
    out = io.BytesIO()
    schema = {"type": "record", "name": "R", "fields": [{"name": "b", "type": "bytes"}]}
    fastavro.writer(out, schema, ({"b": bytes(3 * MIB)} for _ in range(20)), codec="deflate")
    return out.getvalue()


def bodies() -> dict[str, bytes]:
    """What stands behind a frame."""
    nulls = {f"{count} nulls": encode_long(count) + encode_long(0) for count in PROMISED}
    endless = {f"a block of {count} bytes": encode_long(-count) + encode_long(count) for count in PROMISED}
    deep = {f"{depth} records in each other": encode_long(1) * depth + encode_long(0) for depth in (5_000, 200_000)}
    return {**nulls, **endless, **deep, "nothing": b""}


def bombs() -> dict[str, bytes]:
    """Every bomb under every frame, known and not, and what has no frame."""
    framed = {
        f"{name} under schema {schema_id}": b"\x00" + schema_id.to_bytes(4, "big") + bomb
        for schema_id in (*range(7), 99, 2**31, 2**32 - 1)
        for name, bomb in bodies().items()
    }
    promised = {f"{count} fields in a change": body(fields=encode_long(count)) for count in PROMISED}
    full = {"as many fields as fit": body(fields=many(30_000, b"\x00")), "with a fingerprint": b"\xc3\x01" + GOOD[5:]}
    file = container()
    files = {"a file": file, "a file in a frame": GOOD[:5] + file}
    return {**framed, **promised, **full, **files}


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "change": codec.decode_change,
    "change, quickly": fast.decode_change,
    "record": codec.decode_record,
    "conflict": codec.decode_conflict,
    "command": codec.decode_command,
    "state": codec.decode_state,
}

if __name__ == "__main__":
    made = bombs()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for decoder, decode in DECODERS.items():
        for name, data in made.items():
            try:
                decode(data)
                outcome = "decoded"
            except Refusal as refusal:
                outcome = refusal.reason
            print(f"{decoder}: {name}: {outcome}", flush=True)
