"""Avro made to be dear: refused by a walk over its bytes, before a decoder touches it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from schemas.released import TABLE
from tests.schemas.avro_bombs import DECODERS, bombs

ROOT = Path(__file__).resolve().parents[2]
READABLE = {"change": "Change", "change, quickly": "Change", "record": "GoldenRecord", "conflict": "Conflict"}
READABLE |= {"command": "Command", "state": "EntityState"}


def test_no_bomb_reaches_a_decoder() -> None:
    """Counts of millions in five bytes, thousands of levels, unknown ids and files are refused; nothing crashes."""
    command = [sys.executable, "-m", "tests.schemas.avro_bombs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout[-300:]} {done.stderr[-2000:]}"
    lines = [line.rsplit(": ", 2) for line in done.stdout.splitlines()]
    outcomes = {(decoder, bomb): outcome for decoder, bomb, outcome in lines}
    assert len(outcomes) == len(DECODERS) * len(bombs())
    for (decoder, bomb), outcome in outcomes.items():
        _, under, number = bomb.partition(" under schema ")
        known = TABLE.get(int(number)) if under else None
        if under and (known is None or known.record != READABLE[decoder]):
            assert outcome == "unknown_schema", (decoder, bomb)
        else:
            assert outcome in ("truncated", "not_avro", "unknown_schema", "too_large", "too_many_fields"), bomb
    assert outcomes["change", "20000000 nulls under schema 1"] == "truncated"
    assert outcomes["change, quickly", "5000 records in each other under schema 1"] == "not_avro"
    assert outcomes["change", "as many fields as fit"] == "too_many_fields"
    assert outcomes["change", "with a fingerprint"] == "not_avro"
