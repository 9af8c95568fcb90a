"""The shapes whose cost is measured are what they say."""

from __future__ import annotations

from benchmarks import kernel
from benchmarks.kernel import Shape, Writers
from streams.batch import BatchResolver
from streams.entity_codec import decode_entity
from streams.policy import parse_policy


def test_every_source_has_written_every_field() -> None:
    """A state of five sources and three fields holds fifteen writes."""
    writers = Writers(Shape(entities=1, sources=5, fields=3))
    states = kernel.folded(BatchResolver(parse_policy({}), "changes"), writers)
    assert len(states) == kernel.TEMPLATES
    for state in states:
        assert [len(writes) for writes in decode_entity(state).fields.values()] == [5, 5, 5]


def test_each_measured_change_is_applied() -> None:
    """Changes that follow a history are newer than it: each entity of a batch gets a new state and record."""
    writers = Writers(Shape(entities=kernel.TEMPLATES, sources=2, fields=4))
    resolver = BatchResolver(parse_policy({}), "changes")
    entities = range(kernel.TEMPLATES)
    keys = [kernel.key_of(number) for number in entities]
    states = dict(zip(keys, kernel.folded(resolver, writers), strict=True))
    effects = resolver.resolve_batch(0, writers.changes(entities), states)
    assert [key for key, _ in effects.states] == [key for key, _ in effects.records] == keys
