"""What lies outside the promises, one precise course of events each: known windows, and how far they reach.

The tests marked as expected failures say what should hold. They are strict: closing a window here is noticed.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.dead_letters import Row
from schemas.change import Change
from schemas.codec import encode_change
from tests.simulation.broker import CHANGELOG, RECORDS
from tests.simulation.rules import Rules, Violation
from tests.simulation.worker import Worker
from tests.simulation.world import NOW_MS, World

#: As on a broker without idempotent producers, like the embedded one.
UNFENCED = Rules(epochs_fence=False)


def window(reason: str, violation: str) -> pytest.MarkDecorator:
    """Marks a test that fails by this violation, and must."""
    return pytest.mark.xfail(raises=pytest.RaisesExc(Violation, match=violation), strict=True, reason=reason)


def change(version: int, source: str = "crm", **fields: Any) -> Row:
    """A change of entity 1."""
    form = {"event_id": f"e{version}", "entity_type": "customer", "entity_id": "1", "op": "update", "source": source}
    stamp = {"version": version, "occurred_at": NOW_MS, "seen": None, "before": None, "fields": fields}
    return Row(b"customer:1", encode_change(Change.model_validate(form | stamp)))


def only(world: World, worker: Worker) -> Worker:
    """The worker gets all partitions, and whoever else there is has not joined."""
    world.complete_rebalance([worker.number])
    return worker


def send_all(world: World, worker: Worker) -> None:
    while world.send(worker, 0, 0):
        pass


def replaced_in_the_middle(world: World) -> tuple[Worker, Worker]:
    """A worker is stopped when it has begun to send version 1; the new owner sends 2; then the old one goes on."""
    old = only(world, world.start())
    world.publish(change(1, a=1))
    world.fetch(old, 0, 1)
    world.send(old, 0, 0, arrives=False, answered=False)
    world.pause(old)
    new = only(world, world.start())
    world.publish(change(2, a=2))
    world.fetch(new, 0, 2)
    send_all(world, new)
    world.commit(new, 0)
    world.resume(old)
    send_all(world, old)
    return old, new


def test_a_replaced_worker_is_fenced_off() -> None:
    """What a worker had begun to send when it was stopped is refused after the new owner's first record."""
    world = World(partitions=1)
    old, new = replaced_in_the_middle(world)
    assert old.number not in world.workers
    world.auditor.progress()
    world.compact(CHANGELOG, 0, 1.0)
    world.compact(RECORDS, 0, 1.0)
    world.crash(new)
    world.settle()


def test_a_late_state_is_outvoted_in_recovery() -> None:
    """Without fencing, an old owner's state that lies after the new owner's does not win in recovery."""
    world = World(UNFENCED, partitions=1)
    for worker in replaced_in_the_middle(world):
        world.crash(worker)
    world.settle()


@window("compaction keeps the last state, not the newest", "table is not the replay")
def test_a_late_state_and_then_compaction() -> None:
    """Without fencing, a late state lies last, compaction drops the newer one, and recovery has lost a change."""
    world = World(UNFENCED, partitions=1)
    workers = replaced_in_the_middle(world)
    world.compact(CHANGELOG, 0, 1.0)
    for worker in workers:
        world.crash(worker)
    world.settle()


def test_a_late_sender_that_gets_its_partition_back() -> None:
    """Without fencing, what others wrote before our own late record is read when the partition comes back."""
    world = World(UNFENCED, partitions=1)
    old, new = replaced_in_the_middle(world)
    world.join(old)
    world.crash(new)
    only(world, old)
    world.settle()


def test_rows_written_before_an_unseen_wipe() -> None:
    """FLUSHALL between a hand-over and Kafka's acknowledgement: the rows must be written again."""
    world = World(partitions=1)
    worker = only(world, world.start())
    world.keep(worker)
    for version in (1, 2):
        world.publish(Row(b"customer:1", change(version, a=version).value))
        world.fetch(worker, 0, 1)
        world.hand_over(worker)
        if version == 1:
            send_all(world, worker)
            world.keep(worker)
    world.wipe_in_place()
    world.keep(worker)  # notices it
    world.keep(worker)  # begins anew
    world.follow(worker, 0, 50)  # writes version 1 again
    send_all(world, worker)  # version 2 is acknowledged: it counts as written, by a row that is gone
    world.follow(worker, 0, 50)
    world.settle()


LIMITED = {"limits": {"state_bytes": 150}}


def overwritten() -> list[Row]:
    """The second change does not fit; the third replaces it."""
    return [change(1, a=1), change(2, b="x" * 200), change(3, b="y")]


def room_made_later() -> list[Row]:
    """The second change does not fit, but would after the third."""
    return [change(1, a="x" * 80), change(1, "web", b="y" * 60), change(2, a="")]


def refused_and_again(rows: list[Row]) -> None:
    """All changes come one by one, and once more after a crash, before anything was committed."""
    world = World(policy=LIMITED, partitions=1)
    for row in rows:
        world.publish(row)
    for _ in range(2):
        worker = only(world, world.start())
        for _ in rows:
            world.fetch(worker, 0, 1)
            send_all(world, worker)
        world.crash(worker)
    assert [outcome.reason for outcome in world.reference.outcomes[0]] == [None, "state_too_large", None]
    world.settle()


def test_the_limit_of_a_state_and_the_cut_of_batches() -> None:
    """Whether a change is refused as too large for its entity's state does not depend on how the log is cut."""
    world = World(policy=LIMITED, partitions=1)
    worker = only(world, world.start())
    for row in overwritten():
        world.publish(row)
    world.fetch(worker, 0, 3)
    send_all(world, worker)
    world.settle()


def test_a_refused_change_comes_again_and_would_fit() -> None:
    """A change that was refused for its entity's state is refused when it comes again, also where it fits by then."""
    refused_and_again(room_made_later())


def test_a_refused_change_comes_again_and_is_overwritten() -> None:
    """A refused change whose source has overwritten it since changes nothing when it comes again."""
    refused_and_again(overwritten())
