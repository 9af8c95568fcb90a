"""How many conflicts, of what kind, in which field, decided by what, and between whom."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from agents.bounded_labels import BoundedLabel


class ConflictMetrics:
    """The counters of conflicts, all of them found and not only those that were recorded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"syncline_conflicts{name}", text, labels, registry=registry)

        self._by_kind = counter("", "Conflicts found, by kind.", "kind")
        self._by_resolver = counter("_by_resolver", "Conflicts found, by what decides them.", "resolver")
        self._by_field = counter("_by_field", "Conflicts found, by field; what came late as other.", "field")
        self._by_sources = counter("_by_sources", "Conflicts found, by the two that disagree.", "sources")
        self._left_out = counter("_left_out", "Conflicts beyond an entity's budget, which have no record.")
        self._fields, self._sources = BoundedLabel(), BoundedLabel()

    def count(self, told: str, times: int) -> None:
        """Count conflicts. told: kind, resolver, field and sources between tabs, as `streams.conflicts` has them."""
        kind, resolver, field, sources, *left_out = told.split("\t")
        self._by_kind.labels(kind).inc(times)
        self._by_resolver.labels(resolver).inc(times)
        self._by_field.labels(self._fields.of(field)).inc(times)
        self._by_sources.labels(self._sources.of(sources)).inc(times)
        if left_out:
            self._left_out.inc(times)
