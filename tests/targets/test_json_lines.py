"""A file of JSON lines: what is acknowledged is whole lines on disk."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agents.targets.file_lock import file_lock
from agents.targets.json_lines import JsonLinesTarget
from agents.targets.message import message_text
from agents.targets.rotation import compress
from agents.targets.target import Target, TargetUnavailable
from schemas.target_document import JsonLinesDocument
from tests.targets.deliveries import delivery


def target(path: Path, **settings: Any) -> JsonLinesTarget:
    """A target that writes this file."""
    return JsonLinesTarget(JsonLinesDocument(kind="json_lines", path=str(path), **settings))


def rotated(path: Path) -> list[Path]:
    """What was put aside, the oldest first."""
    return sorted(one for one in path.parent.glob(f"{path.stem}-*") if ".lock" not in one.name)


async def settled(writer: JsonLinesTarget) -> None:
    """Wait until everything put aside so far is compressed."""
    assert writer._packing is not None
    await asyncio.wrap_future(writer._packing.submit(lambda: None))


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


async def test_a_file_is_put_aside_by_size(tmp_path: Path) -> None:
    """A file that is large enough gets no further line, and nothing is lost or there twice."""
    path = tmp_path / "out.jsonl"
    writer = target(path, rotate_bytes=700)
    await writer.open()
    for offset in range(10):
        await writer.deliver([delivery(f"customer:{offset}", offset, {"name": "x" * 100})])
    await writer.close()
    files = [*rotated(path), path]
    assert len(files) > 2
    assert [line["key"] for file in files for line in lines(file)] == [f"customer:{offset}" for offset in range(10)]
    assert all(file.stat().st_size < 700 + 500 for file in files)


async def test_no_file_has_lines_of_two_periods(tmp_path: Path) -> None:
    """What was written in an earlier period is put aside before the next line, by the time of its last one."""
    path = tmp_path / "out.jsonl"
    writer = target(path, rotate_every=3_600_000)
    await writer.open()
    await writer.deliver([delivery("customer:1", 1, {})])
    os.utime(path, (0, 1_700_000_000.25))
    with path.open("ab") as torn:
        torn.write(b'{"key')
    os.utime(path, (0, 1_700_000_000.25))
    await writer.deliver([delivery("customer:2", 2, {})])
    await writer.deliver([delivery("customer:3", 3, {})])
    await writer.close()
    (aside,) = rotated(path)
    assert aside.name.startswith("out-20231114T2213")
    assert [line["key"] for line in lines(aside)] == ["customer:1"]
    assert [line["key"] for line in lines(path)] == ["customer:2", "customer:3"]


async def test_what_is_put_aside_is_compressed(tmp_path: Path) -> None:
    """Each file is there once, plain or compressed, also what a crash has left half done."""
    path = tmp_path / "out.jsonl"
    whole, half = tmp_path / "out-20260101T000000.000000Z.jsonl", tmp_path / "out-20260102T000000.000000Z.jsonl"
    other = tmp_path / "out-of-another-20260101T000000.000000Z.jsonl"
    other.touch()
    whole.write_text("{}\n")
    half.write_text("[1]\n")
    compress(whole)
    (tmp_path / f"{half.name}.part").write_bytes(b"torn")
    writer = target(path, rotate_bytes=1, compress=True)
    await writer.open()
    for offset in range(2):
        await writer.deliver([delivery(f"customer:{offset}", offset, {})])
    await settled(writer)
    await writer.close()
    assert other.exists()
    other.unlink()
    assert {one.suffix for one in rotated(path)} == {".gz"}
    texts = [gzip.decompress(one.read_bytes()).decode() for one in rotated(path)]
    assert texts[:2] == ["{}\n", "[1]\n"]
    assert [json.loads(text)["key"] for text in texts[2:]] == ["customer:0"]


async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half written is taken back, the target is unavailable, and the next attempt writes it once."""
    path = tmp_path / "out.jsonl"
    writer = target(path)
    await writer.open()
    await writer.deliver([delivery("customer:1", 1, {})])
    batch = [delivery("customer:2", 2, {}), delivery("customer:3", 3, {})]
    write, room = os.write, [len(message_text(batch[0])) + 10, 0]

    def full(file: int, data: bytes) -> int:
        left = room.pop(0)
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(TargetUnavailable, match="No space left on device"):
            await writer.deliver(batch)
        assert not writer.healthy
    await writer.deliver(batch)
    await writer.close()
    assert writer.healthy
    assert [line["key"] for line in lines(path)] == ["customer:1", "customer:2", "customer:3"]


async def test_a_file_that_another_process_holds(tmp_path: Path) -> None:
    """A lock that is not let go of within the deadline makes the target unavailable, and then it goes on."""
    path = tmp_path / "out.jsonl"
    impatient, patient = target(path, timeout=200), target(path)
    await patient.open()
    with file_lock(f"{path}.lock", 0), pytest.raises(TargetUnavailable, match=r"not on disk within 0\.2 s"):
        await impatient.open()
    await impatient.close()
    await patient.deliver([delivery("customer:1", 1, {})])
    await patient.close()
    assert [line["key"] for line in lines(path)] == ["customer:1"]


async def test_two_workers_write_one_file(tmp_path: Path) -> None:
    """Batches of several writers never mix within a line, and each finds the file that is written now."""
    path = tmp_path / "out.jsonl"
    writers = [target(path, rotate_bytes=5_000) for _ in range(2)]
    for writer in writers:
        await writer.open()
    batches = [
        [delivery(f"customer:{number}-{one}", one, {"x": "y" * 300}) for one in range(5)] for number in range(20)
    ]
    await asyncio.gather(*(writers[number % 2].deliver(batch) for number, batch in enumerate(batches)))
    for writer in writers:
        await writer.close()
    written = [line["key"] for file in (*rotated(path), path) for line in lines(file)]
    assert sorted(written) == sorted(each.key for batch in batches for each in batch)
