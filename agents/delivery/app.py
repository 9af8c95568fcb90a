"""The Faust app of one target: a windowed agent on `records`, another on the target's dead letters, and the courier.

Its group is `<app id>-target-<target>`, so that one slow target delays no other. A fetch is acknowledged as soon as it
is taken in; what is committed is what the backlog says is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from time import time
from typing import Any, Final, NoReturn

from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service
from mode.types import ServiceT
from pydantic import ValidationError

from agents import web
from agents.app_settings import QUEUED_BATCHES, faust_settings
from agents.config_file import load_targets
from agents.control import Control
from agents.delivery.backfill import Backfiller
from agents.delivery.courier import Courier
from agents.delivery.metrics import DeliveryMetrics
from agents.delivery.notes import Notebook, read_notes
from agents.delivery.redriving import Redriver, receiving
from agents.delivery.strategies import load_strategy
from agents.ending import EX_CONFIG, EX_SOFTWARE, end_process, ended_after
from agents.lane import LaneApp, LaneConsumer, LaneSchema, LaneTransport
from agents.names import TopicNames
from agents.process import harden_process
from agents.settings import Settings
from agents.targets.loading import load_target
from agents.targets.target import TargetUnusable
from agents.topic_watch import TopicWatch, refuse_apart
from agents.topics import prepare_topics_or_end
from agents.watchdog import Watchdog
from schemas.delivery_document import DeliveryDocument
from schemas.policy_document import PolicyError
from schemas.suggestion import suggestion
from schemas.target_document import TargetDocument
from schemas.target_orders import TargetOrders, subject
from streams.sync_modes import Plan
from streams.target_mapping import TargetMapping

log = logging.getLogger(__name__)

#: While too much is held nothing is fetched, for as long as the target is away; the group need not know.
POLL_SECONDS: Final = 7 * 24 * 3600.0
STATUS_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 1.0
STATUS: Final = "status"


class DeliveryConsumer(LaneConsumer):
    """The lane's consumer, which commits what the app says is settled."""

    def _new_offset(self, tp: TP) -> int | None:
        settled: int | None = self.app.committable(tp)
        return settled


class DeliveryTransport(LaneTransport):
    """The lane's transport with that consumer."""

    Consumer = DeliveryConsumer


class DeliveryApp(LaneApp):
    """The Faust app of one target. said: its section of syncline.yaml."""

    said: TargetDocument
    names: TopicNames
    control: Control
    courier: Courier
    redriver: Redriver
    backfiller: Backfiller
    notebook: Notebook
    metrics: DeliveryMetrics
    services: list[Service]

    def _new_transport(self) -> DeliveryTransport:
        return DeliveryTransport(self.conf.broker_consumer, self)

    def committable(self, tp: TP) -> int | None:
        """The offset that may be committed; None for none."""
        if tp.topic == self.names.records:
            return self.courier.committable(tp.partition)
        return self.redriver.committable(tp.partition)

    async def on_first_start(self) -> None:
        await prepare_topics_or_end(self.settings)
        await super().on_first_start()

    async def on_start(self) -> None:
        await super().on_start()
        await self.on_started_init_web_server()

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        return [*self.services, *super().on_init_dependencies()]

    async def stop(self) -> None:
        """Finish the call that is under way, commit, and stop; at the latest after half of a rebalance."""
        with ended_after(self.settings.rebalance_seconds / 2):
            await self.courier.let_go(self.settings.rebalance_seconds / 4)
            await super().stop()

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Two workers at a time must not tell a target of one entity: the call that is under way comes to its end.
        await self.courier.let_go(self.settings.rebalance_seconds / 2)
        await super()._on_partitions_revoked(revoked)
        self.courier.dropped()
        self.redriver.dropped()

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        refuse_apart(assigned, self.lane)
        await super()._on_partitions_assigned(assigned, generation_id)
        partitions = sorted(tp.partition for tp in assigned if tp.topic == self.names.records)
        self.add_future(self._begin(partitions, generation_id))

    async def _begin(self, partitions: list[int], generation_id: int) -> None:
        """Read what is known of partitions, and let the courier begin with them."""
        group = self.conf.id
        while not self.should_stop and self.consumer_generation_id == generation_id:
            try:
                async with asyncio.timeout(self.settings.recovery_seconds):
                    noted = await read_notes(
                        self.settings.kafka, self.names, group, self.courier.name, self.said.generation, partitions
                    )
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("What target %s has acknowledged cannot be read: %r", self.courier.name, error)
                await self.sleep(AGAIN_SECONDS)
                continue
            if self.consumer_generation_id == generation_id:
                self.backfiller.assigned(noted)
                self.courier.assigned(noted, generation_id)
            return

    def read_to_end(self, partition: int) -> bool:
        """Whether all that `records` has in a partition was fetched, and handed to the courier."""
        place = self.consumer._thread.positions().get(TP(self.names.records, partition))
        queued = (message.topic == self.names.records for message in list(self.consumer._unacked_messages))
        return place is not None and place[0] >= place[1] and not any(queued)

    def hear(self, name: str, value: Any) -> None:
        """Take what topic `control` says of a target."""
        if name != subject(self.courier.name):
            return
        try:
            orders = TargetOrders.of(value)
            if orders.mode != self.courier.orders.mode:
                self.courier.replan(plan_of(self.said.delivery, orders))
        except (ValidationError, TargetUnusable) as error:
            log.error("What topic control says of target %s is left out: %s", self.courier.name, error)
            return
        self.courier.obey(orders)


class StatusNotes(Service):
    """Writes how far the target is to `deliveries`, for the command line and whoever else looks."""

    def __init__(self, app: DeliveryApp, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app
        self._before: dict[int, tuple[float, int]] = {}
        self._told: dict[int, dict[str, Any]] = {}

    @Service.task
    async def _tell(self) -> None:
        while not self.should_stop:
            await self.sleep(STATUS_SECONDS)
            oldest_ms = self._app.courier.oldest_ms()
            self._app.metrics.oldest_seconds.set(0 if oldest_ms is None else max(0.0, time() - oldest_ms / 1000))
            try:
                for partition in list(self._app.courier.backlogs):
                    await self._tell_of(partition)
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("The progress of target %s is not told: %r", self._app.courier.name, error)

    async def _tell_of(self, partition: int) -> None:
        courier = self._app.courier
        backlog = courier.backlogs.get(partition)
        if backlog is None:
            return
        now, delivered = time(), courier.delivered[partition]
        before_at, before = self._before.get(partition, (now - STATUS_SECONDS, delivered))
        self._before[partition] = now, delivered
        self._app.metrics.pending.labels(partition).set(len(backlog))
        self._app.metrics.position.labels(partition).set(backlog.committable)
        status = {
            "position": backlog.committable,
            "pending": len(backlog),
            "delivered": delivered,
            "per_second": round((delivered - before) / max(now - before_at, 0.001)),
            "breaker": courier.breaker.state(int(now * 1000)),
            "error": courier.trouble,
            "paused": courier.orders.paused,
        }
        if status != self._told.get(partition):
            self._told[partition] = status
            rows = {f"{courier.name}#{STATUS}": {**status, "at_ms": int(now * 1000)}}
            await self._app.notebook.write(self._app.names.deliveries, partition, rows)


def plan_of(said: DeliveryDocument, orders: TargetOrders) -> Plan:
    """The modes of a target: the file's, or the one that was ordered. Raises TargetUnusable."""
    if orders.mode is not None:
        said = said.model_copy(update={**orders.mode.model_dump(), "rules": {}})
    return Plan.of(said, load_strategy)


def group_of(app_id: str, target: str) -> str:
    """The consumer group of a target."""
    return f"{app_id}-target-{target}"


def build(settings: Settings, name: str) -> DeliveryApp:
    """The app of a target; nothing is started or connected yet. Ends the process with code 78 for a wrong file."""
    harden_process()
    said = target_or_end(settings, name)
    names = TopicNames.with_prefix(settings.topic_prefix)
    app = DeliveryApp(
        group_of(settings.app_id, name),
        lane=[names.records, names.target_dead_letters],
        **{**faust_settings(settings), "broker_max_poll_interval": POLL_SECONDS},
    )
    app.settings, app.said, app.names = settings, said, names
    app.metrics, app.notebook, app.control = (
        DeliveryMetrics(),
        Notebook(settings.kafka),
        Control(settings.kafka, names.control),
    )
    try:
        target = load_target(name, said)
    except TargetUnusable as error:
        end_process(EX_CONFIG, f"{settings.config}: {error}")
    try:
        plan = plan_of(said.delivery, TargetOrders())
    except TargetUnusable as error:
        end_process(EX_CONFIG, f"{settings.config}: targets.{name}.delivery: {error}")
    app.courier = Courier(
        mapping=TargetMapping.of(name, said),
        said=said.delivery,
        plan=plan,
        target=target,
        notebook=app.notebook,
        names=names,
        metrics=app.metrics,
        read_to_end=app.read_to_end,
        orders_known=app.control.read,
        still_member=app.still_member,
    )
    app.redriver = Redriver(app.courier, app.notebook, settings.kafka)
    app.backfiller = Backfiller(app.courier, app.notebook, settings.kafka)
    app.control.listen(subject(name), app.hear)
    app.services = [TopicWatch(settings), app.control, app.courier, app.backfiller, StatusNotes(app), watchdog(app)]
    add_agents(app)
    web.add_pages(app, app.metrics, lambda: checks(app))
    return app


def add_agents(app: DeliveryApp) -> None:
    """Register the agents by name."""
    bodies = {
        "deliver": (app.names.records, app.courier.take),
        "redrive": (app.names.target_dead_letters, app.redriver.take),
    }
    for name, (topic, take) in bodies.items():
        app.agent(
            app.topic(topic, schema=LaneSchema(), maxsize=QUEUED_BATCHES, allow_empty=True), name=name, concurrency=1
        )(receiving(take, fail))


def fail(line: str) -> NoReturn:
    """End the process; nothing that is pending was acknowledged."""
    end_process(EX_SOFTWARE, f"delivering failed: {line}")


def watchdog(app: DeliveryApp) -> Watchdog:
    """Ends a process whose event loop stands still, or which gets no partitions. A target may be away for ever.

    And one that the group no longer confirms: it commits nothing any more, and others may deliver what it holds.
    """
    settings = app.settings
    return Watchdog(
        lambda: not app.rebalancing,
        unfinished=lambda: {"membership in the consumer group": int(app.consumer.confirmed_at)},
        stall_seconds=settings.stall_seconds,
        recovery_seconds=settings.recovery_seconds,
        progress_seconds=settings.progress_seconds,
    )


def checks(app: DeliveryApp) -> list[web.Check]:
    """What /readyz tells. A target that is away makes nobody unready: what is pending waits."""
    courier = app.courier
    ours = sorted(courier.backlogs)
    begun = app.consumer_generation_id == courier.generation_id
    pending = sum(map(len, courier.backlogs.values()))
    return [
        web.Check("partitions", begun, True, f"{len(ours)} assigned: {ours}" if begun else "rebalance under way"),
        web.Check("target", courier.trouble is None, False, courier.trouble or "takes deliveries"),
        web.Check("pending", True, False, f"{pending} deliveries{', paused' if courier.orders.paused else ''}"),
    ]


def target_or_end(settings: Settings, name: str) -> TargetDocument:
    """The section of a target. Ends the process with code 78 where there is none."""
    try:
        declared = load_targets(settings.config)
    except PolicyError as error:
        end_process(EX_CONFIG, str(error))
    if name not in declared:
        where = settings.config or "no file (SYNCLINE_CONFIG)"
        end_process(EX_CONFIG, f"{where}: targets: {name!r} is not declared; {suggestion(name, declared)}")
    return declared[name]
