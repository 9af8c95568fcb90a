"""What a target gets, in every mode: each golden state or a newer one, in order, and nothing is lost at any point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.delivery_document import DeliveryDocument
from schemas.record import Position
from streams.acknowledged import Acknowledged
from streams.backlog import Backlog
from streams.delivery import Delivery
from streams.pending import Pending
from streams.sync_modes import Moment, Plan, Strategy
from tests.targets.deliveries import TOPIC, golden

WINDOW_MS = 1_000
PLANS = (
    "{mode: realtime}",
    "{mode: incremental}",
    "{mode: windowed_batch, window: 1s}",
    "{mode: windowed_batch, window: 1s, max_entities: 2}",
    "{mode: manual}",
    "{mode: every_second_one}",
    "{mode: windowed_batch, window: 1s, rules: {a: {entities: [a], mode: realtime}}}",
    "{mode: manual, rules: {x: {where: {x: 1}, mode: incremental}}}",
    "{mode: realtime, rules: {slow: {lag_over: 500ms, mode: windowed_batch, window: 1s}}}",
)
KEYS = ("a:1", "a:2", "b:1")


def strategies(name: str, settings: Mapping[str, Any]) -> Strategy:
    """Every mode that is not ours: the first of each two that wait."""
    return lambda waiting, moment: [item.key for item in waiting[::2]]


def plan(text: str) -> Plan:
    """The plan of such a section."""
    return Plan.of(DeliveryDocument.model_validate(yaml.safe_load(text)), strategies)


@dataclass
class Record:
    """One record of `records`; fields None: a delete."""

    key: str
    fields: dict[str, Any] | None
    at_ms: int

    def delivery(self, offset: int) -> Delivery:
        """What a target without a mapping gets of it."""
        made = None if self.fields is None else golden(self.key, offset, self.fields)
        return Delivery("crm", self.key, made, Position(topic=TOPIC, partition=0, offset=offset))


@dataclass
class World:
    """One partition, one target that remembers, and a worker that may crash after any step."""

    records: list[Record]
    plan: Plan
    committed: int = 0
    noted: dict[str, Acknowledged] = field(default_factory=dict)
    held: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    got: dict[str, list[int]] = field(default_factory=dict)
    refused: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.crash()

    def crash(self) -> None:
        """Another worker begins with what is committed and noted; all that is there by now may have been tried."""
        self.backlog = Backlog(self.plan, self.committed, self.noted, whole_until=len(self.records))

    def begin(self) -> None:
        """The first worker: nothing was tried by anybody."""
        self.backlog = Backlog(self.plan, 0)

    def read(self, count: int) -> None:
        """Read some of the next records."""
        for offset in range(self.backlog.next, min(len(self.records), self.backlog.next + count)):
            record = self.records[offset]
            self.backlog.read(offset, record.at_ms, 10, record.delivery(offset))

    def apply(self, delivery: Delivery) -> None:
        """What the target makes of a delivery: a patch changes what it has, anything else replaces it."""
        self.got.setdefault(delivery.key, []).append(delivery.position.offset)
        known = self.held.get(delivery.key)
        if delivery.fields is None or delivery.changed is None or known is None:
            self.held[delivery.key] = None if delivery.fields is None else dict(delivery.fields)
        else:
            merged = known | (delivery.patch or {})
            self.held[delivery.key] = {name: value for name, value in merged.items() if value is not None}

    def call(self, most: int, outcome: str) -> list[Pending]:
        """One call with such an outcome; returns what was taken."""
        taken = self.backlog.take(most, 1_000)
        deliveries = [self.backlog.to_deliver(item) for item in taken]
        if outcome == "lost":  # before it arrived
            self.backlog.failed(taken)
            return taken
        refused = taken[:1] if outcome == "refused" else []
        for item, delivery in zip(taken, deliveries, strict=True):
            if item not in refused:
                self.apply(delivery)
        if outcome == "unanswered":  # it arrived
            self.backlog.failed(taken)
        elif outcome == "crash":
            self.crash()
        else:
            self.refused |= {(item.key, item.offset) for item in refused}
            notes = self.backlog.acknowledgements(taken, refused)
            self.noted |= notes
            if outcome == "crash_when_noted":
                self.crash()
            else:
                self.backlog.settle(taken, notes)
        return taken

    def commit(self) -> None:
        """Commit what may be."""
        assert self.backlog.committable >= self.committed
        self.committed = self.backlog.committable

    def drain(self) -> None:
        """Read and deliver all there is, on command."""
        self.read(len(self.records))
        self.backlog.release(len(self.records))
        while self.call(2, "accepted"):
            pass
        self.commit()


VALUES = st.dictionaries(st.sampled_from("xy"), st.integers(1, 2), max_size=2)


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Records whose recorded times rise, but for a few."""
    records, now = [], 10_000
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from((0, 100, 700, -300)))
        records.append(Record(draw(st.sampled_from(KEYS)), draw(st.none() | VALUES), max(now, 10_000)))
    return records


OUTCOMES = st.sampled_from(("accepted", "lost", "unanswered", "refused", "crash", "crash_when_noted"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 4)),
        st.tuples(st.just("call"), st.integers(1, 3), OUTCOMES),
        st.tuples(st.just("time"), st.integers(1, 1_500)),
        st.tuples(st.just("plan"), st.sampled_from(PLANS)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("crash")),
        st.tuples(st.just("release")),
    ),
    max_size=25,
)


def play(world: World, steps: list[tuple[Any, ...]]) -> None:
    """Take these steps."""
    for step in steps:
        match step:
            case ("read", count):
                world.read(count)
            case ("call", most, outcome):
                world.call(most, outcome)
            case ("time", passed):
                world.backlog.decide(world.backlog.recorded_ms + passed)
            case ("plan", text):
                world.plan = plan(text)
                world.backlog.replan(world.plan)
            case ("commit",):
                world.commit()
            case ("crash",):
                world.crash()
            case ("release",):
                world.backlog.release(world.backlog.next)
        assert world.backlog.size == 10 * len(world.backlog)


@given(records=histories(), text=st.sampled_from(PLANS), steps=STEPS)
def test_the_target_ends_with_what_records_have(records: list[Record], text: str, steps: list[tuple[Any, ...]]) -> None:
    """Whatever fails or crashes, in whatever mode: the newest state of each entity arrives, or was refused."""
    world = World(records, plan(text))
    world.begin()
    play(world, steps)
    world.drain()
    newest = {record.key: (offset, record.fields) for offset, record in enumerate(records)}
    for key, (offset, fields) in newest.items():
        if (key, offset) not in world.refused:
            assert world.held.get(key) == fields
    assert (len(world.backlog), world.committed) == (0, len(records))


@given(records=histories(), text=st.sampled_from(PLANS), steps=STEPS)
def test_an_entity_s_states_arrive_in_order(records: list[Record], text: str, steps: list[tuple[Any, ...]]) -> None:
    """None after a newer one, over crashes, too."""
    world = World(records, plan(text))
    play(world, steps)
    world.drain()
    for offsets in world.got.values():
        assert offsets == sorted(offsets)


@given(records=histories(), text=st.sampled_from(PLANS), steps=STEPS)
def test_a_commit_passes_nothing_that_is_pending(
    records: list[Record], text: str, steps: list[tuple[Any, ...]]
) -> None:
    """Of all before the committed offset, the target was given the state or a newer one, or it refused that."""
    world = World(records, plan(text))
    play(world, steps)
    world.commit()
    settled = {(key, offset) for key, offsets in world.got.items() for offset in offsets} | world.refused
    for offset, record in enumerate(records[: world.committed]):
        same = next((other for other in range(offset, len(records)) if (record.key, other) in settled), None)
        unchanged = world.backlog.counts["unchanged"] + sum(1 for note in world.noted.values() if note.digests)
        assert same is not None or unchanged


@given(records=histories(), ticks=st.lists(st.integers(1, 900), max_size=12))
def test_an_entity_goes_once_with_each_window(records: list[Record], ticks: list[int]) -> None:
    """Between two ends of windows it is delivered once at most; a change after its window's end waits for the next."""
    world = World(records, plan("{mode: windowed_batch, window: 1s}"))
    world.begin()
    seen: set[tuple[str, int]] = set()
    times = iter(ticks)
    while world.backlog.next < len(records):
        world.read(1)
        world.backlog.decide(world.backlog.recorded_ms + next(times, 0))
        window = world.backlog.recorded_ms // WINDOW_MS
        for item in world.call(100, "accepted"):
            assert (item.key, window) not in seen
            assert item.since_ms < window * WINDOW_MS
            seen.add((item.key, window))


def test_a_full_window_closes_early() -> None:
    """So many entities go at once; what comes after them waits for the end."""
    records = [Record(f"a:{number}", {"x": 1}, 10_100) for number in range(5)]
    world = World(records, plan("{mode: windowed_batch, window: 1s, max_entities: 3}"))
    world.read(5)
    assert [item.key for item in world.call(10, "accepted")] == ["a:0", "a:1", "a:2"]
    assert world.call(10, "accepted") == []
    world.backlog.decide(11_000)
    assert [item.key for item in world.call(10, "accepted")] == ["a:3", "a:4"]


def test_a_window_ends_at_a_time_of_day() -> None:
    """What was recorded before two o'clock goes at two, what was recorded after it the next night."""
    hour = 3_600_000
    records = [Record("a:1", {"x": 1}, hour), Record("b:1", {"x": 1}, 3 * hour)]
    world = World(records, plan("{mode: windowed_batch, at: '0 2 * * *'}"))
    world.read(1)
    assert world.call(10, "accepted") == []
    world.read(1)
    assert [item.key for item in world.call(10, "accepted")] == ["a:1"]
    world.backlog.decide(26 * hour)
    assert [item.key for item in world.call(10, "accepted")] == ["b:1"]


def test_modes_by_type_field_and_time() -> None:
    """The first rule that fits counts: orders at once, the rest in the night, except for what is urgent."""
    text = """
    mode: manual
    rules:
      orders: {entities: [order], mode: realtime}
      urgent: {where: {urgent: true}, mode: incremental}
      night: {during: {from: '0 22 * * *', to: '0 6 * * *'}, mode: windowed_batch, window: 1h}
    """
    hour = 3_600_000
    world = World(
        [
            Record("order:1", {"x": 1}, 12 * hour),
            Record("customer:1", {"x": 1}, 12 * hour),
            Record("customer:2", {"urgent": True}, 12 * hour),
        ],
        plan(text),
    )
    world.read(3)
    assert [item.key for item in world.call(10, "accepted")] == ["order:1", "customer:2"]
    world.backlog.decide(21 * hour)
    assert world.call(10, "accepted") == []
    world.backlog.decide(23 * hour + 1)
    assert [item.key for item in world.call(10, "accepted")] == ["customer:1"]


def test_a_lag_widens_the_window() -> None:
    """While what is due has waited for too long, what comes waits for a longer window."""
    text = "{mode: windowed_batch, window: 1s, rules: {wide: {lag_over: 5s, mode: windowed_batch, window: 1m}}}"
    records = [Record("a:1", {"x": 1}, 10_100), Record("a:2", {"x": 1}, 20_100), Record("a:3", {"x": 1}, 21_100)]
    world = World(records, plan(text))
    world.read(1)
    world.backlog.decide(11_000)
    assert world.backlog.due == 1
    world.backlog.decide(20_000)
    world.read(2)
    assert world.backlog.due == 1
    assert [item.key for item in world.call(10, "accepted")] == ["a:1"]
    world.backlog.decide(23_000)
    assert [item.key for item in world.call(10, "accepted")] == ["a:2", "a:3"]


def test_only_changed_fields_go_and_nothing_where_none_did() -> None:
    """Compared with what the target acknowledged last, not with the record before."""
    states = ({"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 2, "y": 2}, {"x": 2, "y": 2}, {"y": 2})
    world = World([Record("a:1", fields, 10_000) for fields in states], plan("{mode: incremental}"))
    world.begin()
    world.read(1)
    world.call(1, "accepted")
    world.read(2)
    (item,) = world.backlog.take(1, 100)
    assert world.backlog.to_deliver(item).patch == {"x": 2, "y": 2}
    world.backlog.settle([item], world.backlog.acknowledgements([item]))
    world.read(1)
    assert world.backlog.take(1, 100) == []
    assert world.backlog.counts["unchanged"] == 1
    world.read(1)
    (item,) = world.backlog.take(1, 100)
    assert world.backlog.to_deliver(item).patch == {"x": None}


def test_a_value_that_came_and_went_does_not_stay_at_the_target() -> None:
    """After a call without an answer all fields go, for the target may have any of what was tried."""
    records = [Record("a:1", {"x": x}, 10_000) for x in (1, 2, 1)]
    for trouble in ("unanswered", "crash"):
        world = World(records, plan("{mode: incremental}"))
        world.begin()
        world.read(1)
        world.call(1, "accepted")
        world.commit()
        world.read(1)
        world.call(1, trouble)
        assert world.held["a:1"] == {"x": 2}
        world.drain()
        assert world.held["a:1"] == {"x": 1}


def test_what_went_ahead_of_the_commit_does_not_go_again() -> None:
    """Orders go at once while the rest waits and holds the commit back; after a crash they are not sent twice."""
    text = "{mode: manual, rules: {b: {entities: [b], mode: realtime}}}"
    world = World([Record("a:1", {"x": 1}, 10_000), Record("b:1", {"x": 1}, 10_000)], plan(text))
    world.read(2)
    world.call(10, "accepted")
    world.commit()
    assert (world.committed, list(world.noted)) == (0, ["b:1"])
    world.crash()
    world.drain()
    assert world.got == {"a:1": [0], "b:1": [1]}


def test_what_is_cleared_is_not_delivered() -> None:
    """Nothing up to the offset, read before or after; a newer state is."""
    world = World([Record(key, {"x": 1}, 10_000) for key in ("a:1", "b:1", "a:2", "a:1")], plan("{mode: manual}"))
    world.read(2)
    assert world.backlog.clear(2) == 2
    world.read(2)
    world.backlog.release(3)
    assert [item.offset for item in world.call(10, "accepted")] == [3]
    world.commit()
    assert world.committed == 4


def test_what_is_under_way_hides_nothing_from_a_command() -> None:
    """A newer state that waits behind a call is released, or cleared, like any other."""
    for command in ("release", "clear"):
        world = World([Record("a:1", {"x": n}, 10_000) for n in (1, 2)], plan("{mode: manual}"))
        world.read(1)
        world.backlog.release(0)
        taken = world.backlog.take(1, 1_000)
        world.read(1)
        getattr(world.backlog, command)(1)
        world.backlog.settle(taken)
        assert (world.backlog.due, len(world.backlog)) == ((1, 1) if command == "release" else (0, 0))


def test_one_that_waits_keeps_nothing_that_is_settled() -> None:
    """However many others pass it, as much is held as is pending."""
    text = "{mode: manual, rules: {b: {entities: [b], mode: realtime}}}"
    world = World([Record("a:1", {}, 10_000)] + [Record("b:1", {"x": n}, 10_000) for n in range(999)], plan(text))
    for _ in world.records:
        world.read(1)
        world.call(1, "accepted")
    assert (len(world.backlog), world.backlog.committable) == (1, 0)
    assert len(world.backlog._firsts) < 100


def test_what_lies_in_dead_letters_does_not_come_again() -> None:
    """It was refused ahead of the commit; whoever reads it again leaves it to the person who has the letter."""
    text = "{mode: manual, rules: {b: {entities: [b], mode: realtime}}}"
    world = World([Record("a:1", {"x": 1}, 10_000), Record("b:1", {"x": 1}, 10_000)], plan(text))
    world.read(2)
    world.call(10, "refused")
    world.commit()
    world.crash()
    world.drain()
    assert world.got == {"a:1": [0]}


def test_a_strategy_that_fails_ends_nothing() -> None:
    """What waits for it stays, other modes go on, and the trouble is told without the error's own words."""

    def failing(name: str, settings: Mapping[str, Any]) -> Strategy:
        def strategy(waiting: Any, moment: Moment) -> Any:
            raise KeyError("ana@example.com")

        return strategy

    said = DeliveryDocument.model_validate({"mode": "own", "rules": {"b": {"entities": ["b"], "mode": "realtime"}}})
    world = World([Record(key, {"x": 1}, 10_000) for key in ("a:1", "b:1")], Plan.of(said, failing))
    world.read(2)
    assert [item.key for item in world.call(10, "accepted")] == ["b:1"]
    assert world.backlog.trouble == "mode own: the strategy raised KeyError"
    world.backlog.replan(plan("{mode: realtime}"))
    assert world.backlog.trouble is None
    assert [item.key for item in world.call(10, "accepted")] == ["a:1"]


def test_an_older_state_is_not_delivered_again() -> None:
    """What is asked for out of its turn never overwrites what is newer, pending or acknowledged."""
    records = [Record("a:1", {"x": number}, 10_000) for number in range(3)]
    world = World(records, plan("{mode: incremental}"))
    world.begin()
    world.read(2)
    world.call(1, "accepted")
    assert world.backlog.again(records[0].delivery(0), 10_000, 10) is None
    same = world.backlog.again(records[1].delivery(1), 10_000, 10)
    assert same is not None and world.backlog.to_deliver(same).changed is None
    world.read(1)
    assert same.offset == 2
    world.drain()
    assert same.settled and world.got["a:1"] == [1, 2]


def test_one_that_fails_alone_does_not_hold_up_the_others() -> None:
    """It goes behind them, and its failures count only where others pass."""
    world = World([Record(key, {"x": 1}, 10_000) for key in ("a:1", "b:1", "a:2")], plan("{mode: realtime}"))
    world.read(3)
    (bad,) = world.call(1, "lost")
    assert bad.failures == 1
    world.call(1, "accepted")
    world.call(1, "accepted")
    world.call(1, "lost")
    world.call(1, "lost")
    assert (bad.key, bad.failures) == ("a:1", 2)


def test_moments_are_given() -> None:
    """Nothing is due because of a clock: the same records without a word about the time wait."""
    world = World([Record("a:1", {"x": 1}, 10_000)], plan("{mode: windowed_batch, window: 1s}"))
    world.read(1)
    assert world.call(1, "accepted") == []
    assert world.backlog.lag_ms(Moment(99_999).at_ms) == 0
