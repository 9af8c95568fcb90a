"""Dead letters keep what came and say why it was refused."""

from __future__ import annotations

from types import SimpleNamespace

from agents.dead_letters import dead_letter_row
from streams.effects import DeadLetter


def test_bytes_as_received_with_connect_headers() -> None:
    """Key, value and headers stay what they were, null too; behind them place, stage and reason."""
    record = SimpleNamespace(offset=41, key=None, value=b"\xff", headers=(("a", b"b"),))
    row = dead_letter_row("t.changes", 3, record, DeadLetter(0, "not_utf8", "decode", "the key is not valid UTF-8"))
    assert (row.key, row.value) == (None, b"\xff")
    assert row.headers == [
        ("a", b"b"),
        ("__connect.errors.topic", b"t.changes"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"41"),
        ("__connect.errors.stage", b"decode"),
        ("__connect.errors.exception.class.name", b"schemas.refusal.Refusal"),
        ("__connect.errors.exception.message", b"the key is not valid UTF-8"),
        ("syncline-reason", b"not_utf8"),
    ]
