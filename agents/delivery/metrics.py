"""Metrics of one target's worker. Base units, no label values from data."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agents.metrics import LATENCY_SECONDS


class DeliveryMetrics:
    """In a registry of their own, as those of a worker."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.deliveries = Counter(
            "syncline_target_deliveries",
            "Deliveries by result: accepted, refused, superseded, repeated, unchanged, cleared.",
            ["result"],
            registry=r,
        )
        self.calls = Counter(
            "syncline_target_calls", "Calls of the target, by result: ok, failed.", ["result"], registry=r
        )
        self.sent_bytes = Counter("syncline_target_sent_bytes", "Bytes that went to the target.", registry=r)
        self.unreadable = Counter("syncline_target_unreadable_records", "Records that could not be read.", registry=r)
        self.call_seconds = Histogram(
            "syncline_target_call_seconds",
            "Duration of a call that the target answered.",
            buckets=LATENCY_SECONDS,
            registry=r,
        )
        self.pending = Gauge("syncline_target_pending", "Deliveries pending, by partition.", ["partition"], registry=r)
        self.position = Gauge(
            "syncline_target_position", "Offset of `records` before which all is settled.", ["partition"], registry=r
        )
        self.oldest_seconds = Gauge(
            "syncline_target_oldest_pending_seconds", "Age of the oldest change that is pending.", registry=r
        )
        self.breaker_open = Gauge(
            "syncline_target_breaker_open", "1 while the target is left alone, else 0.", registry=r
        )
        self.paused = Gauge("syncline_target_paused", "1 while somebody has paused it, else 0.", registry=r)
        self.ready = Gauge("syncline_ready", "1 when the worker has its partitions, else 0.", registry=r)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
