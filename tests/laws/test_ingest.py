"""Laws of ingest: versions rise and are given again as they were, and an echo adds nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical, parse
from schemas.codec import decode_change
from schemas.refusal import DEFAULT_LIMITS, Refusal
from schemas.wire import WireChange
from streams.entity import Entity, absorb
from streams.hybrid_version import COUNTERS, END_OF_TIME_MS, entry_version, next_version
from streams.ingest import Dropped, Stamp, Taken, take_form, take_record
from streams.merge import judge
from streams.policy import parse_policy
from streams.redis_entry import entry_id, read_entry
from tests.laws.histories import FIELDS, KEY, TIMES, VALUES, changes, histories, policies, wire
from tests.laws.portraits import verdict

TIMESTAMPS = st.integers(-2, 3) | st.integers(-(2**63), 2**63 - 1) | st.just(END_OF_TIME_MS)
IDS = st.tuples(st.integers(0, 3), st.integers(0, 3) | st.just(COUNTERS - 1))
STAMP = Stamp("web", 9, 2_000)
ECHO_VERSION = 9


@given(st.lists(TIMESTAMPS, max_size=20))
def test_versions_of_a_log_rise_whatever_its_times_say(timestamps: list[int]) -> None:
    """Strictly, from the first record to the last, within what a version may be."""
    versions = fold(0, timestamps)
    assert all(0 < version < 2**63 for version in versions)
    assert versions == sorted(set(versions))


@given(st.lists(TIMESTAMPS, max_size=20), st.integers(0, 20))
def test_versions_do_not_depend_on_where_reading_was_interrupted(timestamps: list[int], place: int) -> None:
    """A fold that goes on from the last version is the fold of the whole log."""
    first = fold(0, timestamps[:place])
    last = first[-1] if first else 0
    assert first + fold(last, timestamps[place:]) == fold(0, timestamps)


@given(st.lists(TIMESTAMPS, max_size=20), st.integers(0, 20))
def test_a_fold_that_starts_late_gives_no_greater_version(timestamps: list[int], place: int) -> None:
    """Where the last version was forgotten, what is read again is a duplicate or stale, and never passes for newer."""
    again = fold(0, timestamps[place:])
    assert all(version <= was for version, was in zip(again, fold(0, timestamps)[place:], strict=True))


@given(IDS, IDS)
def test_versions_of_entries_rise_with_their_ids(one: tuple[int, int], other: tuple[int, int]) -> None:
    """And two entries never have the same; Redis gives no entry the id 0-0."""
    versions = [entry_version(*id) or 0 for id in (one, other)]
    assert (versions[0] < versions[1]) == (one < other)


@pytest.mark.parametrize("id", [(0, COUNTERS), (END_OF_TIME_MS, 0), (0, 0), (2**63, 2**63)])
def test_an_id_without_room_in_a_version_gives_none(id: tuple[int, int]) -> None:
    """Instead of one that another id has, too."""
    assert entry_version(*id) is None


def fold(last: int, timestamps: list[int]) -> list[int]:
    """The versions of a log's records."""
    versions = []
    for timestamp in timestamps:
        last = next_version(last, timestamp)
        versions.append(last)
    return versions


# ---- echoes ----


def form(change: dict[str, Any]) -> dict[str, Any]:
    """A change as the system `web` publishes it, later than all of a history."""
    return {**change, "source": "web", "version": ECHO_VERSION}


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Any, dict[str, Any]]:
    """A history, a policy, and the message that a target is sent of what they come to."""
    history, document = draw(histories()), draw(policies())
    exists, fields, clock = golden(history, document)[:3]
    sent = {name: parse(value) for name, (value, _) in fields.items()} if exists else None
    message = {"key": KEY, "fields": sent, "clock": clock if exists else {}, "partial": False}
    return history, document, message


def golden(history: list[dict[str, Any]], document: Any, *more: WireChange) -> Any:
    """Existence, fields, clock, contested and pending of what a history, and more, comes to."""
    policy = parse_policy(document).of("customer")
    entity = Entity()
    for change in [*map(wire, history), *more]:
        absorb(entity, change)
    return verdict(entity, judge(entity, policy), policy)


@st.composite
def echoes(draw: st.DrawFn, message: dict[str, Any]) -> dict[str, Any]:
    """What a target that applied a message may send back: all of it or some, fields that are absent as null."""
    sent, named = message["fields"], draw(st.lists(st.sampled_from(FIELDS), unique=True))
    op = draw(st.sampled_from(["create", "update", "snapshot"])) if sent is not None else "delete"
    fields = {name: sent.get(name) for name in named} if sent is not None else {}
    form = {"entity_type": "customer", "entity_id": "1", "op": op, "fields": fields, "occurred_at": draw(TIMES)}
    return {**form, "in_reply_to": message}


@given(deliveries(), st.data())
def test_what_a_target_was_sent_is_an_echo(delivery: Any, data: Any) -> None:
    """Sent back whole or in part, under any op that fits, it is dropped."""
    assert take_form(data.draw(echoes(delivery[2])), STAMP, DEFAULT_LIMITS) is Dropped.ECHO


@given(deliveries(), changes(), st.data())
def test_dropping_an_echo_changes_no_golden_field(delivery: Any, later: dict[str, Any], data: Any) -> None:
    """By the contract's own words an echo writes nothing: as an informed change it would move no field, ever.

    Under any policy, joined in any order with what the target was sent and with what is written afterwards.
    """
    history, document, message = delivery
    echo = data.draw(echoes(message))
    reply = echo.pop("in_reply_to")
    known = {"seen": reply["clock"], "before": {name: echo["fields"][name] for name in echo["fields"]}}
    written = wire({**form(echo), "event_id": "e", **known})
    without, kept = golden([*history, later], document), golden([*history, later], document, written)
    if without[0] and kept[0] and written.op != "delete":
        assert kept[1] == without[1]


@given(deliveries(), st.sampled_from(FIELDS), VALUES, st.data())
def test_a_reply_that_differs_is_a_write_of_what_differs(delivery: Any, field: str, value: Any, data: Any) -> None:
    """Never dropped; informed by what was sent, so that only the values that differ from it count."""
    message = delivery[2]
    sent = message["fields"] or {}
    echo = data.draw(echoes(message))
    near = {**echo, "op": "update", "fields": {**echo["fields"], field: value}}
    taken = take_form(near, STAMP, DEFAULT_LIMITS)
    if message["fields"] is not None and canonical(sent.get(field)) == canonical(value):
        assert taken is Dropped.ECHO
        return
    assert isinstance(taken, Taken)
    assert taken.near_miss
    change = decode_change(taken.value)
    assert change.fields[field] == canonical(value)
    assert change.seen == (message["clock"] or None)
    differing = {name for name, text in change.fields.items() if (change.before or {}).get(name) != text}
    assert differing == ({field} if message["fields"] is not None else set(change.fields))


@given(changes())
def test_without_the_mark_nothing_is_an_echo(change: dict[str, Any]) -> None:
    """A change that replies to nothing is copied as it is, whatever its values are."""
    taken = take_form(form(change), STAMP, DEFAULT_LIMITS)
    assert isinstance(taken, Taken)
    assert decode_change(taken.value) == wire(form(change))


def test_an_echo_that_is_kept_stands_against_the_next_true_write() -> None:
    """Why it is dropped: nobody at the strongest source wanted the old value, and yet it would win."""
    head = {"event_id": "e", "entity_type": "customer", "entity_id": "1", "op": "update", "before": None}
    first = {**head, "source": "crm", "version": 1, "occurred_at": 1, "seen": {}, "fields": {"name": "a"}}
    echo = {**head, "source": "web", "version": 1, "occurred_at": 2, "seen": {"crm": 1}, "fields": {"name": "a"}}
    second = {**first, "version": 2, "occurred_at": 9_000, "seen": {"crm": 1}, "fields": {"name": "b"}}
    document = {"priority": ["web", "crm"], "resolver": "source_priority"}
    assert golden([first, second], document)[1]["name"][0] == '"b"'
    assert golden([first, echo, second], document)[1]["name"][0] == '"a"'


SENT = {"key": KEY, "fields": {"n": 1}, "clock": {"crm": 3}, "partial": True}


@pytest.mark.parametrize(
    ("op", "fields", "reply", "echo"),
    [
        ("update", {"n": 1}, SENT, True),
        ("update", {}, SENT, True),
        ("update", {"n": 1.0}, SENT, False),
        ("update", {"n": True}, SENT, False),
        ("update", {"m": None}, SENT, False),  # a partial message says nothing of it
        ("update", {"m": None}, {**SENT, "partial": False}, True),
        ("delete", {}, SENT, False),
        ("delete", {}, {"key": KEY, "fields": None}, True),
        ("update", {}, {"key": KEY, "fields": None}, False),
    ],
)
def test_what_is_an_echo(op: str, fields: dict[str, Any], reply: dict[str, Any], echo: bool) -> None:
    """Values are equal when their canonical JSON is; absent is null; a deletion echoes a deletion."""
    change = {"entity_type": "customer", "entity_id": "1", "op": op, "fields": fields, "in_reply_to": reply}
    assert (take_form(change, STAMP, DEFAULT_LIMITS) is Dropped.ECHO) is echo


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("a text", "bad_reply"),
        ({**SENT, "key": "customer:2"}, "bad_reply"),
        ({**SENT, "fields": [1]}, "bad_reply"),
        ({**SENT, "clock": 7}, "bad_reply"),
        ({**SENT, "fields": {"n": 2}, "clock": {"crm": "x"}}, "bad_version"),
    ],
)
def test_a_reply_that_cannot_be_read_is_refused(reply: Any, reason: str) -> None:
    """It goes to dead letters, for nobody knows whether it is an echo."""
    change = {"entity_type": "customer", "entity_id": "1", "op": "update", "fields": {"n": 1}, "in_reply_to": reply}
    with pytest.raises(Refusal) as refused:
        take_form(change, STAMP, DEFAULT_LIMITS)
    assert refused.value.reason == reason


# ---- forms ----


@given(changes())
def test_a_flat_entry_is_the_whole_one(change: dict[str, Any]) -> None:
    """Part by part or as one JSON text, an entry of a stream becomes the same change."""
    parts = {
        name: value if isinstance(value, str) else canonical(value)
        for name, value in change.items()
        if value is not None
    }
    flat = read_entry({name.encode(): text.encode() for name, text in parts.items()}, DEFAULT_LIMITS)
    whole = read_entry({b"change": canonical(change).encode()}, DEFAULT_LIMITS)
    stamp = STAMP._replace(source=change["source"])
    assert take_form(flat, stamp, DEFAULT_LIMITS) == take_form(whole, stamp, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({b"change": b"{"}, "bad_value"),
        ({b"change": b"7"}, "bad_shape"),
        ({b"change": b"{}", b"op": b"update"}, "bad_shape"),
        ({b"colour": b"red"}, "bad_shape"),
        ({b"fields": b"{"}, "bad_value"),
        ({b"version": b"01"}, "bad_value"),
        ({b"entity_id": b"\xff"}, "not_utf8"),
        ({b"fields": b" " * 300_000}, "too_large"),
        ({b"fields": b"[" * 5_000 + b"]" * 5_000}, "too_deep"),
    ],
)
def test_an_entry_that_is_no_change_is_refused(entry: dict[bytes, bytes], reason: str) -> None:
    """With a reason of the table, and nothing else is raised."""
    with pytest.raises(Refusal) as refused:
        read_entry(entry, DEFAULT_LIMITS)
    assert refused.value.reason == reason


@given(st.dictionaries(st.binary(max_size=8) | st.just(b"change"), st.binary(max_size=40), max_size=3))
def test_any_entry_is_taken_or_refused(entry: dict[bytes, bytes]) -> None:
    """Whatever bytes an entry has, nothing but a refusal comes of it."""
    with suppress(Refusal):
        take_form(read_entry(entry, DEFAULT_LIMITS), STAMP, DEFAULT_LIMITS)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"\0\0\0\0\1" + tail))
def test_any_record_is_taken_or_refused(value: bytes) -> None:
    """Whatever bytes a record has, nothing but a refusal comes of it."""
    with suppress(Refusal):
        take_record(value, STAMP, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (Stamp("web", None, 1), "bad_version"),
        (Stamp("web", 1, None), "bad_time"),
        (Stamp("crm", 1, 1), "foreign_source"),
    ],
)
def test_what_nobody_told_is_not_made_up(stamp: Stamp, reason: str) -> None:
    """Without a version or a time to give, or from another source, a change is refused."""
    change = {"entity_type": "customer", "entity_id": "1", "op": "delete", "source": "web"}
    with pytest.raises(Refusal) as refused:
        take_form(change, stamp, DEFAULT_LIMITS)
    assert refused.value.reason == reason


def test_ids_compare_as_numbers() -> None:
    """Not as text, in which 9-1 comes after 10-0."""
    assert entry_id(b"9-1") < entry_id(b"10-0") < entry_id(b"10-2") < entry_id(b"10-10")
