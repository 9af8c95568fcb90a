"""Every metric of the worker: one table, read top to bottom. Base units, and few label values from data."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agents.conflict_metrics import ConflictMetrics

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Metrics:
    """The worker's metrics, in a registry of their own so that two apps in one process do not collide."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self._add_states(r)
        self.changes = Counter("syncline_changes", "Changes by what became of them.", ["outcome"], registry=r)
        self.conflicts = ConflictMetrics(r)
        self.dead_letters = Counter("syncline_dead_letters", "Records refused, by reason.", ["reason"], registry=r)
        self.commands = Counter("syncline_commands", "Commands carried out, by kind.", ["kind"], registry=r)
        self.batches = Counter("syncline_batches", "Batches of changes acknowledged.", registry=r)
        self.records = Counter("syncline_records", "Golden records sent.", registry=r)
        self.in_flight = Gauge("syncline_in_flight_batches", "Batches resolved but not acknowledged.", registry=r)
        self.effects = Histogram(
            "syncline_effects_seconds",
            "From a batch's resolution to Kafka's acknowledgement of all its records.",
            buckets=LATENCY_SECONDS,
            registry=r,
        )
        self.view_writes = Counter(
            "syncline_view_writes", "Batches handed to the view, by result: written or missed.", ["result"], registry=r
        )
        self.view_lag = Gauge(
            "syncline_view_lag_records", "Records not yet in the view, by partition.", ["partition"], registry=r
        )
        self.entities = Gauge("syncline_entities", "Entities in this worker's table.", registry=r)
        self.input_lost = Counter(
            "syncline_input_lost_records", "Records deleted from Kafka before they were read.", registry=r
        )
        self.ingest = Counter(
            "syncline_ingest_changes",
            "Arrivals by source and what became of them: copied (near_miss is one, too), echo, refused.",
            ["source", "outcome"],
            registry=r,
        )
        self.ingest_lag = Gauge(
            "syncline_ingest_lag_records",
            "Of a source, not copied yet; of a topic, this worker's.",
            ["source"],
            registry=r,
        )
        self.ingest_alarms = Counter(
            "syncline_ingest_alarms", "Times that a source's changes may have been lost.", ["source"], registry=r
        )
        self.stream_claimed = Counter(
            "syncline_ingest_claimed", "Entries taken over from a worker that left them.", ["source"], registry=r
        )
        self.stream_length = Gauge("syncline_ingest_stream_entries", "Entries in the stream.", ["source"], registry=r)
        self.stream_pending = Gauge(
            "syncline_ingest_pending_entries",
            "Entries read and not acknowledged, by all workers.",
            ["source"],
            registry=r,
        )
        self.stream_oldest = Gauge(
            "syncline_ingest_oldest_pending_seconds", "Age of the oldest of them, 0 for none.", ["source"], registry=r
        )
        self.stream_dead = Gauge(
            "syncline_ingest_dead_entries", "Entries in the dead-letter stream.", ["source"], registry=r
        )
        self._add_change_log(r)
        self.ready = Gauge("syncline_ready", "1 when the worker has recovered its table, else 0.", registry=r)

    def _add_change_log(self, r: CollectorRegistry) -> None:
        self.journal_records = Counter(
            "syncline_journal_records",
            "Records that the change log has taken, by topic.",
            ["topic"],
            registry=r,
        )
        self.journal_lag = Gauge(
            "syncline_journal_lag_records", "Records not yet in the change log, by topic.", ["topic"], registry=r
        )
        self.journal_store = Gauge(
            "syncline_journal_store", "1 for the store that the change log is written to.", ["store"], registry=r
        )
        self.journal_failures = Counter(
            "syncline_journal_failures", "Turns in which the change log's store took nothing.", registry=r
        )
        self.journal_expired = Counter(
            "syncline_journal_expired_rows",
            "Rows of the change log deleted as too old or too many.",
            registry=r,
        )

    def count_ingest(self, source: str, counts: Mapping[str, int]) -> None:
        """Add what became of arrivals of one source, by outcome. source: one that syncline.yaml declares."""
        for outcome, times in counts.items():
            self.ingest.labels(source, outcome).inc(times)

    def _add_states(self, r: CollectorRegistry) -> None:
        self.recovery_remaining = Gauge(
            "syncline_recovery_remaining_offsets", "Offsets of the changelog still to be read in recovery.", registry=r
        )
        self.reresolved = Counter(
            "syncline_reresolved_entities", "Entities sent anew because the policy changed.", registry=r
        )
        self.reresolve_remaining = Gauge(
            "syncline_reresolve_remaining_entities",
            "Entities that a new policy has not looked at yet.",
            registry=r,
        )

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
