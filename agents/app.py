"""The composition root: builds the Faust app of a worker from its settings, and everything it is made of.

`faust -A agents.app worker` works too: `app` is made from the environment when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service
from mode.types import ServiceT

from agents import web
from agents.app_settings import QUEUED_BATCHES, faust_settings
from agents.checked_functions import require_converging
from agents.commands import commands_agent
from agents.config_file import load_policy, policy_of
from agents.control import Control
from agents.decisions import Decisions
from agents.ending import EX_CONFIG, EX_SOFTWARE, end_process, ended_after
from agents.entity_table import EmptyState, EntityTable, PositionOf
from agents.handover import Deliveries, HandOver, View
from agents.huge_pages import HugePages
from agents.ingest.compose import ingest_checks, ingest_services_or_end
from agents.journal.compose import journal_checks, journal_services_or_end
from agents.lane import LaneApp, LaneSchema
from agents.materialize import Materializer
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.outbox import OffsetRange, Outbox
from agents.process import freeze_recovered, harden_process
from agents.recovery import Progress
from agents.reresolve import Reresolver
from agents.resolve import Kernel, Work, resolver_agent
from agents.settings import Settings, SettingsError, load_settings
from agents.states import Home, MemoryHome
from agents.stewardship import add_stewardship
from agents.topic_watch import TopicWatch, refuse_apart
from agents.topics import prepare_topics_or_end
from agents.trust_clock import add_trust_clock
from agents.view import RedisView
from agents.watchdog import Watchdog
from streams.batch import BatchResolver
from streams.entity_codec import empty_state, position_of
from streams.policy import Policy, PolicyError

log = logging.getLogger(__name__)

#: Rounds of recovery's own buffer, in whole fetches. Not 1: Faust takes that as "keep reading the changelog".
RECOVERY_BATCHES = 2
VIEW_WRITES_WAITING = 32
MIB = 1024 * 1024


class SynclineApp(LaneApp):
    """The Faust app of a worker. settings: what it was built from. services: started and stopped with it.

    control: what is to be different while it runs. reresolver: has another policy decide then; None: the policy stays.
    """

    work: Work
    services: list[Service]
    home: Home
    control: Control
    reresolver: Reresolver | None = None
    view_checks: Callable[[], list[web.Check]] = staticmethod(list)

    async def on_first_start(self) -> None:
        changelog = await prepare_topics_or_end(self.settings)
        self.work.table.tombstone_seconds = changelog.tombstone_seconds
        self.home.enter(changelog.identity)
        await super().on_first_start()

    async def on_start(self) -> None:
        await super().on_start()
        # Faust serves pages when recovery is over; until then nobody could tell it from a worker that hangs.
        await self.on_started_init_web_server()

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        refuse_apart(assigned, self.lane)
        await super()._on_partitions_assigned(assigned, generation_id)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        # First to start and last to stop: the watchdog guards recovery and the drain, too.
        return [*self.services, *super().on_init_dependencies()]

    async def stop(self) -> None:
        """Drain and stop. Ends the process with code 70 where that takes longer than half a rebalance may.

        While the broker is away the last commit would wait for it for ever; the next owner reads again from the one
        before.
        """
        with ended_after(self.settings.rebalance_seconds / 2):
            if self.reresolver is not None:
                await self.reresolver.stop()
            await super().stop()

    async def take_over(self, partitions: set[int]) -> None:
        """Fence off whoever had these partitions before, so that recovery reads all that they ever sent."""
        work, seconds = self.work, self.settings.send_deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                await work.outbox.drained()  # what is under way would be fenced off, too
                marks = {p: self.producer.take_over(p, work.names.changelog) for p in sorted(partitions)}
                for partition, mark in zip(marks, await asyncio.gather(*marks.values()), strict=True):
                    if mark is not None:
                        work.table.followed_by(partition, OffsetRange(mark, mark + 1, True))
        except (TimeoutError, KafkaError) as error:
            reason = f"not done within {seconds:g} s" if isinstance(error, TimeoutError) else str(error)
            end_process(EX_SOFTWARE, f"taking over partitions {sorted(partitions)}: {reason}")

    def applied(self, tp: TP) -> int | None:
        """How far the entity table reflects a partition of `changes`."""
        work = self.work
        return work.table.applied(tp.partition) if tp.topic == work.names.changes else None

    def input_lost(self, tp: TP, first: int, following: int) -> None:
        """Raises the alarm: nothing here can bring these records back."""
        self.work.metrics.input_lost.inc(following - first)
        log.error(
            "ALARM: %s[%s]: offsets %s to %s were deleted before they were read (retention, or by hand): %s records"
            " are lost to this deployment; publish them again",
            *(tp.topic, tp.partition, first, following - 1, following - first),
        )

    def recovered(self) -> bool:
        """Whether partitions were assigned (none is an assignment, too) and the table has their states."""
        return self.tables.recovery.completed.is_set() and not self.rebalancing and not self.in_recovery

    def recovering(self) -> Progress | None:
        """How far the recovery that is under way is."""
        return self.tables.recovery.progress


def build(
    settings: Settings,
    *,
    kernel: Kernel | None = None,
    position_of: PositionOf = position_of,
    empty_state: EmptyState = empty_state,
    view: View | None = None,
    deliveries: Deliveries | None = None,
) -> SynclineApp:
    """The app with its agents, table, pages and services; nothing is started or connected yet.

    What is not given is made from the settings: the kernel from the policy, the view from the Redis URL.
    """
    harden_process()
    names = TopicNames.with_prefix(settings.topic_prefix)
    policy = policy_or_end(settings)
    own = BatchResolver(policy, names.changes, settings.cache_mib * MIB, masking_key=settings.masking_key)
    app = new_app(settings, names)
    app.home = home_or_end(settings, names)
    metrics = Metrics()
    table = new_table(app, settings, names, position_of, empty_state)
    outbox = Outbox(
        lambda: app.producer._ensure_producer(),
        deadline_seconds=settings.send_deadline_seconds,
        batches_in_flight=settings.batches_in_flight,
        still_member=app.still_member,
        session_left=app.session_left,
    )

    def policy_now() -> Policy:
        return own.policy if app.reresolver is None else app.reresolver.newest.policy

    app.control = Control(settings.kafka, names.control)
    app.services = [TopicWatch(settings), app.control, HugePages()]
    app.services += ingest_services_or_end(
        *(settings, names, lambda: policy_now().limits, metrics, app.control, app.recovered)
    )
    if view is None and settings.redis is not None:
        view, deliveries = add_view(app, settings.redis, names, metrics, policy.view_ttl_ms)
    hand_over = HandOver(view, deliveries, metrics, waiting=VIEW_WRITES_WAITING)
    app.work = Work(kernel or own, table, outbox, hand_over, metrics, names)
    if kernel is None:
        add_reresolver(app, own, view)

    app.services += journal_services_or_end(settings, names, policy_now, metrics, app.control)
    add_trust_clock(app, policy_now)
    add_agents(app, names, add_stewardship(app, policy_now))
    web.add_pages(app, metrics, lambda: checks(app))
    metrics.in_flight.set_function(lambda: len(outbox))
    metrics.entities.set_function(lambda: len(table.data))
    metrics.recovery_remaining.set_function(lambda: getattr(app.recovering(), "remaining", 0))
    app.services.append(
        Watchdog(
            app.recovered,
            lambda: table.data.records_read,
            lambda: {
                f"{tp.topic}[{tp.partition}], whose records are unfinished": n
                for tp, n in app.consumer.unfinished().items()
            },
            stall_seconds=settings.stall_seconds,
            recovery_seconds=settings.recovery_seconds,
            progress_seconds=settings.progress_seconds,
        )
    )
    return app


def new_app(settings: Settings, names: TopicNames) -> SynclineApp:
    """A Faust app with the settings that lose nothing, and none of Faust's extras."""
    app = SynclineApp(
        settings.app_id,
        lane=[names.changes, names.commands, names.changelog],
        **faust_settings(settings),
    )
    app.settings = settings
    return app


def new_table(
    app: SynclineApp,
    settings: Settings,
    names: TopicNames,
    position_of: PositionOf,
    empty_state: EmptyState,
) -> EntityTable:
    """The table of entity states, registered with the app; its changelog topic is named by us."""
    changelog = app.topic(
        names.changelog,
        schema=LaneSchema(key_type=bytes, value_type=bytes),
        key_type=bytes,
        value_type=bytes,
        partitions=settings.partitions,
        acks=False,
        internal=True,
        allow_empty=True,
        maxsize=QUEUED_BATCHES,
    )
    table = EntityTable(
        app,
        name="entities",
        key_type=bytes,
        value_type=bytes,
        partitions=settings.partitions,
        changelog_topic=changelog,
        recovery_buffer_size=RECOVERY_BATCHES,
        position_of=position_of,
        empty_state=empty_state,
        on_replaced=lambda partition: app.work.forget(partition),
        take_over=app.take_over,
        open_states=app.home.open,
    )
    app.tables.add(table)

    async def after_recovery() -> None:
        freeze_recovered()

    table.on_recover(after_recovery)
    return table


def home_or_end(settings: Settings, names: TopicNames) -> Home:
    """Where the states are. Ends the process with code 78 when the store is not installed."""
    if settings.data_dir is None or settings.store == "memory":
        return MemoryHome()
    try:
        from agents.rocksdb_states import RocksHome
    except ImportError as error:
        end_process(EX_CONFIG, f"the store rocksdb is not installed ({error}): pip install 'syncline[rocksdb]'")
    return RocksHome(settings.data_dir, names.changelog)


def add_agents(app: SynclineApp, names: TopicNames, decisions: Decisions) -> None:
    """Register the agents by name (an unnamed one is named after its module, and so is its topic)."""
    agents = {
        "resolve": (names.changes, resolver_agent(app.work)),
        "commands": (names.commands, commands_agent(app.work, decisions)),
    }
    for name, (topic, body) in agents.items():
        app.agent(
            app.topic(topic, schema=LaneSchema(), maxsize=QUEUED_BATCHES, allow_empty=True),
            name=name,
            concurrency=1,
        )(body)

    @app.on_partitions_revoked.connect
    async def forget(sender: Any, revoked: set[TP], **_: Any) -> None:
        # Every rebalance: the states of a partition that comes back may have moved elsewhere meanwhile.
        for tp in revoked:
            if tp.topic == names.changes:
                app.work.forget(tp.partition)


def add_view(
    app: SynclineApp, url: str, names: TopicNames, metrics: Metrics, ttl_ms: int | None
) -> tuple[RedisView, Materializer]:
    """The view in Redis, and the materializer that follows `records` for the partitions of this worker."""
    view = RedisView(url, names.records, names.changes, ttl_ms)
    materializer = Materializer(view, app.settings.kafka, names.records)
    app.services.append(materializer)
    app.view_checks = lambda: [
        web.Check("view", view.healthy, False, "Redis answers" if view.healthy else "Redis does not answer"),
        web.Check("materializer", materializer.healthy, False, "caught up" if materializer.caught_up() else "behind"),
    ]

    def partitions(tps: set[TP]) -> set[int]:
        return {tp.partition for tp in tps if tp.topic == names.changes}

    @app.on_partitions_assigned.connect
    async def assigned(sender: Any, assigned: set[TP], **_: Any) -> None:
        materializer.assigned(partitions(assigned))
        for partition in partitions(assigned):
            metrics.view_lag.labels(partition).set_function(lambda p=partition: materializer.lag(p))

    @app.on_partitions_revoked.connect
    async def revoked(sender: Any, revoked: set[TP], **_: Any) -> None:
        materializer.revoked(partitions(revoked))

    return view, materializer


def add_reresolver(app: SynclineApp, own: BatchResolver, view: View | None) -> None:
    """What has another policy decide while the worker runs."""
    work, settings = app.work, app.settings

    def adopted(policy: Policy) -> None:
        if isinstance(view, RedisView):
            view.live_for(policy.view_ttl_ms)

    def kernel_under(policy: Policy) -> BatchResolver:
        return BatchResolver(policy, own.changes_topic, own.cache_bytes, own.masking_key)

    work.deciding = app.reresolver = Reresolver(
        *(work, app.control, own, kernel_under, adopted, settings.kafka),
        read=lambda document: policy_of(document, settings.config),
    )
    work.metrics.reresolve_remaining.set_function(app.reresolver.remaining)
    app.services.append(app.reresolver)


def checks(app: SynclineApp) -> list[web.Check]:
    """What /readyz tells."""
    ours = sorted(tp.partition for tp in app.assignor.assigned_actives() if tp.topic == app.work.names.changes)
    recovered, recovering = app.recovered(), app.recovering()
    under_way = "rebalance under way" if recovering is None else f"recovering, {recovering.line()}"
    return [
        web.Check("recovered", recovered, True, "table recovered" if recovered else under_way),
        web.Check("partitions", True, True, f"{len(ours)} assigned: {ours}"),
        web.Check("membership", app.still_member(), True, "confirmed by the consumer group"),
        *app.view_checks(),
        *ingest_checks(app.services),
        *journal_checks(app.services),
        *(() if app.reresolver is None else [app.reresolver.check()]),
    ]


def policy_or_end(settings: Settings) -> Policy:
    """The policy of the settings. Ends the process with code 78 for a file it cannot use."""
    try:
        policy = load_policy(settings.config)
        require_converging(settings.config)
        return policy
    except PolicyError as error:
        end_process(EX_CONFIG, str(error))


def __getattr__(name: str) -> faust.App:
    if name != "app":
        raise AttributeError(f"module agents.app has no attribute {name!r}")
    try:
        built = build(load_settings())
    except SettingsError as error:
        end_process(EX_CONFIG, str(error))
    globals()["app"] = built
    return built
