"""How Faust and aiokafka fetch, seek and heartbeat, which is why the lane has a consumer and a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from agents import header_names, lane
from tests.raw_names import RawName, batch_builder
from tests.upstream.canary import PARTITION, canary, new_app

TP = TopicPartition("t", 0)


class WatchedConsumer(driver.Consumer):
    """Faust's consumer; what it is asked to fetch and how long it sleeps are written down."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[Any] = []
        self.slept: list[float] = []

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        self.asked.append(active_partitions)
        return {}

    async def sleep(self, n: Any, **_: Any) -> None:
        self.slept.append(n)


def watched_consumer() -> WatchedConsumer:
    app = new_app()
    app.transport.Consumer = WatchedConsumer
    consumer = app.consumer
    assert isinstance(consumer, WatchedConsumer)
    return consumer


async def test_a_fetch_is_given_the_live_set_of_partitions() -> None:
    """The set that a fetch waits with is the one that a revocation empties meanwhile.

    Worked around in agents/lane.py: LaneConsumer._getmany passes a copy.
    """
    consumer = watched_consumer()
    with canary("agents/lane.py"):
        consumer._set_active_tps({PARTITION})
        await consumer._wait_next_records(0.1)
        consumer.pause_partitions([PARTITION])
        assert consumer.asked == [set()]


async def test_without_a_partition_to_fetch_a_second_is_slept() -> None:
    """A full buffer takes its partition out of the set; with none left Faust sleeps a whole second.

    Worked around in agents/lane.py: LaneConsumer.on_buffer_full leaves topics of the lane alone.
    """
    consumer = watched_consumer()
    with canary("agents/lane.py"):
        consumer._set_active_tps({PARTITION})
        consumer.on_buffer_full(PARTITION)
        await consumer._wait_next_records(0.1)
        assert (consumer.asked, consumer.slept) == ([], [1])


def read_batch(*names: str) -> Any:
    """A fetch's records with a header of each name."""
    builder = batch_builder()
    for place, name in enumerate(names):
        builder.append(place, timestamp=5, key=b"k", value=b"v", headers=[(RawName(name), b"x")])
    # By way of ours, since another test may have put ours in its place.
    (stock,) = header_names.TolerantPartitionRecords.__bases__
    return stock(TP, MemoryRecords(bytes(builder.build())), None, 0, None, None, check_crcs=True, isolation_level=0)


def fetcher_with(records: Any) -> tuple[Fetcher, Any]:
    """A fetcher that is not running and has these records of the partition, and the partition's state."""
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([TP])
    assignment = subscriptions.subscription.assignment
    assignment.state_value(TP).seek(0)
    fetcher = object.__new__(Fetcher)
    fetcher._subscriptions = subscriptions
    fetcher._wait_consume_future = None
    fetcher._records = {TP: FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)}
    return fetcher, assignment.state_value(TP)


async def test_no_partitions_means_any_partition() -> None:
    """Asked for the records of no partition, aiokafka gives those of all, and counts them as read.

    Worked around in agents/lane.py: LaneConsumer._getmany asks for nothing then.
    """
    fetcher, state = fetcher_with(read_batch("a", "b"))
    with canary("agents/lane.py"):
        records = await fetcher.fetched_records(set(), timeout=0)
        assert (len(records[TP]), state.position) == (2, 2)


async def test_a_header_name_that_is_no_utf8_raises_out_of_the_fetch() -> None:
    """The error takes all of the fetch with it, and aiokafka stays where it is: the next fetch will raise, too.

    Worked around in agents/header_names.py: such a batch is read again, tolerantly.
    """
    fetcher, state = fetcher_with(read_batch("a", "b", "\xff", "c"))
    with canary("agents/header_names.py"):
        with pytest.raises(UnicodeDecodeError):
            await fetcher.fetched_records({TP}, timeout=0)
        assert await fetcher.fetched_records({TP}, timeout=0) == {}
        assert state.position == 0


class Refusing:
    """A client whose broker has gone."""

    async def send(self, *_: Any) -> None:
        raise KafkaConnectionError


async def test_closing_passes_on_the_cancellation_of_a_fetch_that_waits() -> None:
    """A fetch that failed waits before it is repeated; closing the fetcher then raises CancelledError.

    Worked around in agents/lane.py: LaneConsumerThread.on_thread_stop takes it for what it is.
    """
    fetcher, _ = fetcher_with(read_batch("a"))
    fetcher._client, fetcher._retry_backoff, fetcher._fetch_waiters = Refusing(), 60.0, set()
    fetcher._preferred_read_replica = {}
    waiting = asyncio.ensure_future(fetcher._proc_fetch_request(None, 0, SimpleNamespace(topics=[])))
    fetcher._fetch_task = asyncio.ensure_future(asyncio.sleep(0))
    fetcher._pending_tasks = {waiting}
    for _ in range(5):
        await asyncio.sleep(0)
    with canary("agents/lane.py"), pytest.raises(asyncio.CancelledError):
        await fetcher.close()


async def test_resuming_the_flow_empties_the_queues() -> None:
    """What was fetched before the flow is resumed is thrown away, and Faust seeks before it resumes.

    Worked around in agents/lane.py: from LaneConsumer.perform_seek until resume_flow nothing is fetched.
    """
    flow = FlowControlEvent()
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    queue.put_nowait(1)
    flow.resume()
    with canary("agents/lane.py"):
        assert queue.empty()
        after_recovery = inspect.getsource(type(new_app().tables.recovery).on_recovery_completed)
        steps = ["consumer.perform_seek()", "flow_control.resume()", "consumer.resume_flow()"]
        places = [after_recovery.index(step) for step in steps]
        assert places == sorted(places)


async def test_fetches_of_faust_wait_long_at_the_broker() -> None:
    """A broker holds back an empty answer for 1.5 s, whatever the settings say, and other questions wait behind it.

    Worked around in agents/lane.py: LaneConsumerThread._create_worker_consumer sets BROKER_WAIT_MS.
    """
    app = new_app()
    thread = driver.AIOKafkaConsumerThread(app.consumer, loop=asyncio.get_running_loop(), beacon=app.beacon)
    with canary("agents/lane.py"):
        assert thread._create_worker_consumer(app.transport)._fetch_max_wait_ms == 1500


@pytest.mark.parametrize(("code", "confirmed"), [(0, True), (27, True), (25, False), (22, False)])
async def test_a_heartbeat_tells_whether_the_group_confirmed_us(code: int, confirmed: bool) -> None:
    """A heartbeat is one method of the coordinator, which returns True as long as the group knows us.

    Relied on by agents/lane.py: LaneConsumerThread.on_start wraps it to note when that was.
    """
    coordinator = object.__new__(GroupCoordinator)
    coordinator.group_id, coordinator.generation, coordinator.member_id = "g", 1, "m"

    async def answer(_: Any) -> Any:
        return SimpleNamespace(error_code=code)

    def nothing() -> None: ...

    coordinator._send_req, coordinator.request_rejoin, coordinator.reset_generation = answer, nothing, nothing
    with canary("agents/lane.py"):
        assert bool(await coordinator._do_heartbeat()) is confirmed
        assert "await self._do_heartbeat()" in inspect.getsource(GroupCoordinator._heartbeat_routine)


#: What of the lane's classes is its own and overrides nothing.
OWN = {
    "_register",
    "_explain_gap",
    "_pass_last_gaps",
    "_start_where_tables_end",
    "unfinished",
    "positions",
    "applied",
    "input_lost",
    "still_member",
    "session_left",
    "take_over",
}


@pytest.mark.parametrize(
    "ours",
    [
        lane.LaneScheduler,
        lane.LaneSchema,
        lane.LaneConsumer,
        lane.LaneConsumerThread,
        lane.LaneProducer,
        lane.LaneTransport,
        lane.LaneApp,
        header_names.TolerantPartitionRecords,
    ],
)
def test_what_we_override_is_there_to_be_overridden(ours: type) -> None:
    """Each method that a class of ours gives a new meaning is one of the class that it derives from.

    Relied on by agents/lane.py and agents/header_names.py: a seam that moved would leave its workaround uncalled.
    """
    theirs = ours.__bases__[0]
    overridden = {name for name, what in vars(ours).items() if callable(what) and not name.startswith("__")} - OWN
    with canary("agents/lane.py", "agents/header_names.py"):
        missing = {name for name in overridden if not hasattr(theirs, name)}
        assert missing - {"_unpack_spelled", "_first_unread"} == set()
        assert overridden
