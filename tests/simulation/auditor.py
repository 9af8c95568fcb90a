"""The invariants: cheap ones at each effect and step, all of them when everything has come to rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256

from agents.dead_letters import CONNECT
from agents.materialize import view_row
from schemas.codec import decode_conflict, decode_record
from streams.effects import ViewRow
from streams.entity_codec import position_of
from streams.export import export_line, line_of_record, row_of_state
from streams.policy import Policy
from tests.simulation.broker import CHANGELOG, CHANGES, CONFLICTS, DEAD_LETTERS, RECORDS, Broker, Record
from tests.simulation.redis_view import SimulatedRedis
from tests.simulation.reference import Reference
from tests.simulation.rules import Violation
from tests.simulation.worker import Flight


class Auditor:
    """Watches what arrives at the broker and in Redis, and compares it with the reference.

    records_by_position: of an entity's records the one with the newest position counts, instead of the last one.
    """

    def __init__(
        self, policy: Policy, broker: Broker, redis: SimulatedRedis, reference: Reference, records_by_position: bool
    ) -> None:
        self._policy, self._broker, self._redis, self._reference = policy, broker, redis, reference
        self.records_by_position = records_by_position
        self.conflicts: set[tuple[bytes, int, str]] = set()
        self.dead_letters: set[tuple[int, int]] = set()
        self.ledger: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
        self._causes_checked: defaultdict[bytes, int] = defaultdict(int)
        self._newest: defaultdict[tuple[str, bytes], int] = defaultdict(lambda: -1)
        self._commit_checked = [0 for _ in broker.partitions]
        self._viewed: dict[bytes, int] = {}

    # ---- at each effect ----

    def arrived(self, record: Record) -> None:
        """A record is on its topic."""
        key = record.key or b""
        if record.topic == CONFLICTS:
            conflict = decode_conflict(record.value or b"")
            self.conflicts.add((key, conflict.position.offset, conflict.conflict_id))
        elif record.topic == DEAD_LETTERS:
            self._dead_letter(record)
        elif record.topic == CHANGELOG:
            self._state(key, record.value or b"")
        elif record.topic == RECORDS:
            row = view_row(record)
            if not self._is_true(row):
                raise Violation("records", f"{key!r} at position {row.offset} is not what a replay has there")
            self._newest[RECORDS, key] = max(self._newest[RECORDS, key], row.offset)

    def _is_true(self, row: ViewRow) -> bool:
        """Whether a replay has this row at its position; a null on `records` says no more than that."""
        expected = self._reference.rows.get((row.key, row.offset))
        return expected is not None and (row == expected or (row.doc is None and expected.doc is None))

    def _dead_letter(self, record: Record) -> None:
        headers = dict(record.headers)
        offset = int(headers[CONNECT + "offset"] or b"")
        expected = self._reference.outcomes[record.partition][offset].reason
        if (headers["syncline-reason"] or b"").decode() != expected:
            raise Violation("dead letters", f"{record.partition}:{offset} was refused; a replay says {expected}")
        self.dead_letters.add((record.partition, offset))

    def _state(self, key: bytes, state: bytes) -> None:
        position = position_of(state)
        causes, place = self._reference.causes[key], self._causes_checked[key]
        while place < len(causes) and causes[place][0] <= position:
            if (key, *causes[place]) not in self.conflicts:
                raise Violation("conflict first", f"{key!r}: {causes[place]} is stored and not on the topic")
            place += 1
        self._causes_checked[key] = place
        if row_of_state(key, state, self._policy) != self._reference.rows.get((key, position)):
            raise Violation("states", f"{key!r} at position {position} is not what a replay has there")
        self._newest[CHANGELOG, key] = max(self._newest[CHANGELOG, key], position)

    def finished(self, partition: int, flight: Flight) -> None:
        """Kafka has all of a batch: each of its inputs is accounted for."""
        refused = {letter.place for letter in flight.effects.dead_letters}
        for place, record in enumerate(flight.records):
            self.ledger[partition, record.offset].add("quarantined" if place in refused else "resolved")
        resolved = flight.effects.counts.get("applied", 0)
        if resolved + len(refused) != len(flight.records):
            raise Violation("ledger", f"{resolved} resolved and {len(refused)} refused of {len(flight.records)}")

    def committed(self, partition: int) -> None:
        """An offset was committed: all that the inputs before it cause is on the topics."""
        outcomes = self._reference.outcomes[partition]
        for offset in range(self._commit_checked[partition], self._broker.committed[partition]):
            outcome, place = outcomes[offset], f"{partition}:{offset}"
            if outcome.reason is not None:
                if (partition, offset) not in self.dead_letters:
                    raise Violation("commit", f"{place} is committed and its dead letter is missing")
                continue
            missing = [i for i in outcome.conflicts if (outcome.key, offset, i) not in self.conflicts]
            if missing:
                raise Violation("commit", f"{place} is committed and conflict {missing[0]} is missing")
            for topic in (CHANGELOG, RECORDS) if outcome.moved else ():
                if self._newest[topic, outcome.key] < offset:
                    raise Violation("commit", f"{place} is committed and {topic} lacks it")
            if not self.ledger[partition, offset]:
                raise Violation("commit", f"{place} is committed and its batch is not acknowledged")
        self._commit_checked[partition] = self._broker.committed[partition]

    def viewed(self, keys: Iterable[bytes]) -> None:
        """These entities were written to the view."""
        for key in keys:
            row = self._redis.held[key].row
            if row.offset < self._viewed.get(key, -1):
                raise Violation("view", f"{key!r} went back from {self._viewed[key]} to {row.offset}")
            if not self._is_true(row):
                raise Violation("view", f"{key!r} at position {row.offset} is not what a replay has there")
            self._viewed[key] = row.offset

    def redis_replaced(self) -> None:
        """Redis was wiped or went back to a copy; the view starts from there."""
        self._viewed = {key: held.row.offset for key, held in self._redis.held.items()}

    # ---- at rest, or from time to time ----

    def progress(self) -> None:
        """All records before the view's progress are in the view, or something newer is."""
        for partition, reached in self._redis.progress.items():
            for record in self._broker.log(RECORDS, partition).records:
                if record.offset >= reached:
                    break
                held = self._redis.held.get(record.key or b"")
                if held is None or held.row.offset < view_row(record).offset:
                    raise Violation("progress", f"records {partition}:{record.offset} is passed and not in the view")

    def at_rest(self, tables: Mapping[int, Mapping[bytes, bytes]]) -> str:
        """Nothing is under way: all places agree, and nothing is missing. Returns the digest of the lines."""
        self._complete()
        places = {
            "table": self._lines_of_states(state for table in tables.values() for state in table.items()),
            "changelog": self._lines_of_states(self._newest_states().items()),
            "records": self._lines_of_records(),
            "view": _lines((h.row.key, h.row.doc, h.row.contested) for h in self._redis.held.values()),
            "replay": _lines((row.key, row.doc, row.contested) for row in self._reference.now.values()),
        }
        digests = {place: sha256("\n".join(lines).encode()).hexdigest()[:16] for place, lines in places.items()}
        for place, lines in places.items():
            if lines != places["replay"]:
                differing = sorted(set(lines) ^ set(places["replay"]))[:2]
                raise Violation("nothing lost", f"{place} is not the replay: {digests}; for example {differing}")
        self.progress()
        return digests["replay"]

    def _complete(self) -> None:
        for partition in self._broker.partitions:
            end, outcomes = self._broker.log(CHANGES, partition).end, self._reference.outcomes[partition]
            if self._broker.committed.get(partition, 0) != end:
                raise Violation("ends", f"{partition}: committed {self._broker.committed.get(partition)} of {end}")
            for offset, outcome in enumerate(outcomes):
                found = set(self.ledger[partition, offset])
                if outcome.reason == "state_too_large":
                    found -= {"resolved"}  # when it came again: its source had overwritten it, so it did nothing
                if found != {"resolved" if outcome.reason is None else "quarantined"}:
                    raise Violation("ledger", f"{partition}:{offset} is {self.ledger[partition, offset]}")
        if sum(self._reference.counts().values()) != len(self.ledger):
            raise Violation("ledger", "the inputs do not add up to the ends of the log")
        caused = {(key, *cause) for key, causes in self._reference.causes.items() for cause in causes}
        if caused != self.conflicts:
            raise Violation("conflicts", f"on the topic and not in the replay, or so: {caused ^ self.conflicts}")

    def _newest_states(self) -> dict[bytes, bytes]:
        newest: dict[bytes, bytes] = {}
        for partition in self._broker.partitions:
            for record in self._broker.log(CHANGELOG, partition).records:
                key, state = record.key or b"", record.value or b""
                if key not in newest or position_of(state) >= position_of(newest[key]):
                    newest[key] = state
        return newest

    def _lines_of_states(self, states: Iterable[tuple[bytes, bytes]]) -> list[str]:
        rows = (row_of_state(key, state, self._policy) for key, state in states)
        return _lines((row.key, row.doc, row.contested) for row in rows)

    def _lines_of_records(self) -> list[str]:
        last: dict[bytes, Record] = {}
        for partition in self._broker.partitions:
            for record in self._broker.log(RECORDS, partition).records:
                key = record.key or b""
                if key not in last or not self.records_by_position or _position(record) >= _position(last[key]):
                    last[key] = record
        return sorted(line_of_record(decode_record(r.value)) for r in last.values() if r.value is not None)


def _position(record: Record) -> int:
    return view_row(record).offset


def _lines(rows: Iterable[tuple[bytes, str | None, str]]) -> list[str]:
    return sorted(export_line(key.decode(), doc, contested) for key, doc, contested in rows if doc is not None)
