"""The decoders under fire, in a process of their own, so that a segmentation fault is a finding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRE = """
import random, resource, sys
from schemas import codec, fast
from schemas.change import Change
from schemas.refusal import Refusal
from tests.schemas import test_codec as records
from tests.schemas.examples import plain
from tests.schemas.test_decoders_agree import mutated

# A count that is believed shows up as memory; 1 GiB is far more than any input here may need.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
pairs = [
    (codec.encode_change(Change(**plain())), codec.decode_change),
    (codec.encode_change(Change(**plain())), fast.decode_change),
    (codec.encode_record(records.golden()), codec.decode_record),
    (codec.encode_conflict(records.conflict()), codec.decode_conflict),
    (codec.encode_command(records.command()), codec.decode_command),
    (codec.encode_state(records.state()), codec.decode_state),
]
dice = random.Random(int(sys.argv[1]))
taken = refused = 0
for data, decode in pairs:
    for number in range(1_500):
        noise = data[:5] + dice.randbytes(dice.randrange(200))
        try:
            decode(mutated(dice, data) if number % 3 else noise)
            taken += 1
        except Refusal:
            refused += 1
print(taken, refused)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_but_a_refusal_escapes(seed: int) -> None:
    """Thousands of damaged records are decoded or refused: no other error, no crash, no memory blown up."""
    run = subprocess.run(
        [sys.executable, "-c", FIRE, str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, f"exit {run.returncode}: {run.stderr[-2000:]}"
    taken, refused = map(int, run.stdout.split())
    assert taken + refused == 9_000
    assert refused > 4_000
