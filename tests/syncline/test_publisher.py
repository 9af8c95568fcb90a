"""The publisher, as far as it needs no broker: what it makes of what it is given."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest

from schemas.change import Change
from schemas.codec import decode_change
from schemas.golden_record import GoldenRecord
from schemas.record import Position
from schemas.refusal import Refusal
from syncline.hybrid_clock import ClockAhead, HybridClock
from syncline.line_file import numbered_lines
from syncline.publisher import Publisher

CHANGE: dict[str, Any] = {
    "entity_type": "customer", "entity_id": "42", "op": "update", "source": "crm", "fields": {"email": "a@b"},
}  # fmt: skip
RECORD = GoldenRecord(
    entity_type="customer",
    entity_id="42",
    fields={"email": "old@b", "age": 7},
    provenance={},
    clock={"crm": 5, "web": 9},
    contested=[],
    pending=[],
    policy_version="p",
    position=Position(topic="syncline.changes", partition=0, offset=0),
)


def publisher() -> Publisher:
    """One that is not started, with a clock that stands still."""
    return Publisher("127.0.0.1:1", "syncline.", clock=HybridClock(lambda: 1_790_000_000_000, start=0))


def test_what_is_missing_is_filled_in() -> None:
    """A change without version, time and id gets all three, and the id names the dot."""
    encoded = publisher().encode(CHANGE)
    change = decode_change(encoded.value)
    assert encoded.key == b"customer:42"
    assert change.version == 1_790_000_000_000 << 16
    assert change.event_id == f"customer:42@crm@{change.version}"
    assert change.occurred_at > 1_700_000_000_000
    assert (change.seen, change.before) == (None, None)


def test_what_is_given_stays() -> None:
    """Version, time and id of the source are kept, from a mapping and from a Change alike."""
    given = {**CHANGE, "version": 3, "occurred_at": "2026-01-31T12:00:00Z", "event_id": "e"}
    change = decode_change(publisher().encode(given).value)
    assert (change.version, change.occurred_at, change.event_id) == (3, 1_769_860_800_000, "e")
    assert decode_change(publisher().encode(Change.model_validate(given)).value) == change


def test_a_change_after_reading_carries_what_was_read() -> None:
    """With seen_from, seen is the record's clock, and before its value of each written field, null if absent."""
    change = decode_change(publisher().encode({**CHANGE, "fields": {"email": "n", "fax": 1}}, seen_from=RECORD).value)
    assert change.seen == {"crm": 5, "web": 9}
    assert change.before == {"email": '"old@b"', "fax": "null"}


def test_evidence_is_given_once() -> None:
    """A change that has a seen and is given seen_from too is a mistake of the program."""
    with pytest.raises(TypeError, match="seen and seen_from"):
        publisher().encode({**CHANGE, "seen": {}}, seen_from=RECORD)


@pytest.mark.parametrize(
    ("wrong", "reason", "words"),
    [
        ({"version": 0}, "bad_version", "version"),
        ({"op": "upsert"}, "bad_op", "op"),
        ({"entity_type": "Customer"}, "bad_entity_type", "Customer"),
        ({"colour": "red"}, "bad_shape", "colour"),
        ({"fields": {"*": 1}}, "bad_field_name", r"\*"),
    ],
)
def test_a_bad_change_is_refused_in_one_line(wrong: dict[str, Any], reason: str, words: str) -> None:
    """A refusal has the reason of the dead-letter table and one line that names the place."""
    with pytest.raises(Refusal, match=words) as refused:
        publisher().encode({**CHANGE, **wrong})
    assert refused.value.reason == reason
    assert "\n" not in str(refused.value)


async def test_a_source_that_numbers_its_changes_is_told_to_give_versions() -> None:
    """An update without version of a source whose versions no clock gives is refused before anything is sent."""
    ahead = RECORD.model_copy(update={"clock": {"crm": 1 << 62}})
    with pytest.raises(ClockAhead, match="give each change its version"):
        await publisher().update(ahead, fields={"email": "x"}, source="crm")


async def test_an_unstarted_publisher_says_so() -> None:
    """Publishing before start names what to do."""
    with pytest.raises(RuntimeError, match="async with"):
        await publisher().publish(CHANGE)


async def test_no_broker_is_one_line() -> None:
    """A broker that does not answer is named, with the setting that names it."""
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1.*SYNCLINE_KAFKA"):
        await publisher().start()


def test_lines_are_numbered_and_bounded() -> None:
    """Blank lines count and are left out, a mark at the beginning is no text, a huge line is cut and ends itself."""
    file = io.BytesIO(b"\xef\xbb\xbf{}\n\n \r\n[1]\r\n" + b"x" * 1_000 + b"\nlast")
    lines = dict(numbered_lines(file, 50))
    assert {number: line for number, line in lines.items() if number != 5} == {1: b"{}", 4: b"[1]", 6: b"last"}
    assert 50 < len(lines[5]) < 60


def test_importing_the_publisher_does_not_load_faust() -> None:
    """A program that publishes gets neither Faust nor mode, and the bare package not even Kafka's client."""
    program = (
        "import sys, syncline; first = 'aiokafka' in sys.modules; from syncline import Publisher, SyncPublisher;"
        "print(first, sorted({name.split('.')[0] for name in sys.modules} & {'faust', 'mode'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("False []", "")
