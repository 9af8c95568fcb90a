"""A file of JSON lines: what is acknowledged is whole lines on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.targets.json_lines import JsonLinesTarget
from agents.targets.target import Target
from schemas.target_document import JsonLinesDocument
from tests.targets.deliveries import delivery


def target(path: Path, **settings: Any) -> JsonLinesTarget:
    """A target that writes this file."""
    return JsonLinesTarget(JsonLinesDocument(kind="json_lines", path=str(path), **settings))


def lines(path: Path) -> list[Any]:
    """What the file says."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_batch_becomes_lines_in_order(tmp_path: Path) -> None:
    """One line for each delivery: all fields, the changed ones alone, or null for a deleted entity."""
    writer: Target = target(tmp_path / "deep" / "out.jsonl")
    await writer.open()
    batch = [
        delivery("customer:1", 5, {"name": "Ana", "age": 2**53 + 1}),
        delivery("customer:1", 6, {"name": "Ana"}, changed=["age"]),
        delivery("customer:1", 7, None),
    ]
    receipt = await writer.deliver(batch)
    await writer.close()
    written = lines(tmp_path / "deep" / "out.jsonl")
    assert receipt.refused == {}
    assert receipt.sent_bytes == (tmp_path / "deep" / "out.jsonl").stat().st_size
    assert [line["fields"] for line in written] == [{"name": "Ana", "age": 2**53 + 1}, {"age": None}, None]
    assert [(line["partial"], line["deleted"]) for line in written] == [(False, False), (True, False), (False, True)]
    assert [line["position"]["offset"] for line in written] == [5, 6, 7]
    assert [line["idempotency_key"] for line in written] == [each.idempotency_key for each in batch]


async def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    """What a crash has left of a line is gone before the next one is appended; whole lines stay."""
    path = tmp_path / "out.jsonl"
    whole = b'{"key":"customer:1"}\n'
    for torn in (b'{"key":"cust', b"\0" * 200_000, b"x"):
        path.write_bytes(whole + torn)
        writer = target(path)
        await writer.open()
        assert path.read_bytes() == whole
        await writer.deliver([delivery("customer:2", 1, {})])
        await writer.close()
        assert [line["key"] for line in lines(path)] == ["customer:1", "customer:2"]
