"""A running worker notices what becomes of the topics."""

from __future__ import annotations

from agents.settings import Settings
from agents.topic_watch import TopicWatch
from agents.topics import FoundTopics
from streams.topics import TOPICS

NAMES = ["x." + topic.name for topic in TOPICS]


def found(partitions: int, **others: int) -> FoundTopics:
    """Topics with so many partitions, and other numbers for some."""
    counts = {**dict.fromkeys(NAMES, partitions), **{"x." + name: count for name, count in others.items()}}
    return FoundTopics(counts, dict.fromkeys(NAMES, 1), {})


def test_topics_that_grow_together_are_a_fault() -> None:
    """Keys move away from their states also when all topics have the same new number of partitions."""
    watch = TopicWatch(Settings(topic_prefix="x."))
    assert watch.faults(found(8)) == []
    [line] = watch.faults(found(9))
    assert line.startswith("topic x.changes has 9 partitions, and must have 8 as when this worker started")


def test_a_topic_that_grows_alone_is_named() -> None:
    """The fault is the same as at a start."""
    watch = TopicWatch(Settings(topic_prefix="x."))
    assert watch.faults(found(8)) == []
    [line] = watch.faults(found(8, records=9))
    assert line.startswith("topic x.records has 9 partitions, and must have 8")


def test_a_broker_that_does_not_tell_now_is_no_fault() -> None:
    """A broker that has just started may not know of a topic for a moment."""
    watch = TopicWatch(Settings(topic_prefix="x."))
    assert watch.faults(found(8, changes=0)) == []
    assert watch.faults(found(8)) == []
