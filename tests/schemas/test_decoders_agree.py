"""The quick decoder and the reference decoder agree on everything, good or bad."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, fast
from schemas.change import Change
from schemas.refusal import DEFAULT_LIMITS, Refusal
from schemas.rules import check_change
from schemas.wire import WireChange
from tests.schemas.examples import changes, plain

SEEDS = [
    plain(),
    plain(op="delete", fields={}, seen=None, before=None),
    plain(fields={"f": [1, {"a": 1.5}], "g": 2**62, "h": "é", "i": -0.0}, before={}, seen={}),
    plain(fields={f"f{i}": i for i in range(70)}, before=None, seen={f"s{i}": i for i in range(5)}),
]
NASTY_BYTES = (0, 1, 2, 3, 4, 6, 8, 10, 12, 0x7F, 0x80, 0xED, 0xFE, 0xFF)


def outcome(data: bytes) -> WireChange | str:
    """What the reference decoder makes of it: the change, or the reason."""
    try:
        return codec.decode_change(data)
    except Refusal as refusal:
        return refusal.reason


def agree(data: bytes) -> bool:
    """Check one input against the reference decoder; return whether it was taken."""
    expected = outcome(data)
    try:
        assert fast.decode_change(data) == expected
    except Refusal as refusal:
        assert refusal.reason == expected
    # Without the reference decoder to fall back on: it takes and refuses the same.
    quick: WireChange | None
    try:
        quick = fast.read_change(data, DEFAULT_LIMITS.depth)
        check_change(quick, DEFAULT_LIMITS)
    except (ValueError, IndexError):
        quick = None
    taken = isinstance(expected, WireChange)
    if data[:5] == b"\x00\x00\x00\x00\x01":
        assert quick == (expected if taken else None)
    return taken


def mutated(dice: random.Random, data: bytes) -> bytes:
    """The bytes with one to three of them changed, dropped, doubled or cut off behind."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        # Mostly behind the frame: a wrong frame is soon dealt with.
        place = dice.randrange(5 if dice.random() < 0.95 else 0, len(out))
        kind = dice.randrange(6)
        if kind == 0:
            out[place] ^= 1 << dice.randrange(8)
        elif kind in (1, 2):
            out[place] = dice.choice(NASTY_BYTES)
        elif kind == 3:
            del out[place : place + dice.randint(1, 4)]
        elif kind == 4:
            out[place:place] = out[place : place + dice.randint(1, 8)]
        else:
            del out[max(place, 6) :]
        if len(out) < 6:
            break
    return bytes(out)


def test_they_agree_on_broken_changes() -> None:
    """Of thousands of damaged changes both take the same ones and refuse the rest for the same reasons."""
    dice = random.Random(20260131)
    taken = refused = 0
    for line in SEEDS:
        data = codec.encode_change(Change(**line))
        for _ in range(2_000):
            if agree(mutated(dice, data)):
                taken += 1
            else:
                refused += 1
    # Both kinds must be plenty, or the mutations say nothing.
    assert taken > 400
    assert refused > 3_000


@given(changes(), st.integers(0, 2**32))
def test_they_agree_around_any_change(change: Change, seed: int) -> None:
    """Any change and a damaged copy of it are the same to both decoders."""
    data = codec.encode_change(change)
    assert agree(data)
    agree(mutated(random.Random(seed), data))


@given(st.binary(max_size=80))
def test_they_agree_on_noise(noise: bytes) -> None:
    """Bytes that are nothing, with and without a frame before them, are the same to both decoders."""
    agree(noise)
    agree(b"\x00\x00\x00\x00\x01" + noise)
