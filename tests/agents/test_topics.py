"""Topics that would lose data are refused before anything is read from them."""

from __future__ import annotations

from agents.topics import config_faults, count_faults, replica_faults
from streams.topics import TOPICS

RIGHT = {"x." + topic.name: dict(topic.config) for topic in TOPICS}


def test_topics_as_created_have_no_faults() -> None:
    """The table of topics agrees with itself."""
    assert config_faults(RIGHT, "x.") == []
    assert count_faults(dict.fromkeys(RIGHT, 8), "x.") == []


def test_wrong_setting_is_one_line_with_the_command_that_helps() -> None:
    """Which topic, which setting, what it is, what it must be, what to do."""
    wrong = RIGHT | {"x.changes": RIGHT["x.changes"] | {"message.timestamp.type": "CreateTime"}}
    [line] = config_faults(wrong, "x.")
    assert "topic x.changes has message.timestamp.type=CreateTime, and must have LogAppendTime" in line
    assert "--add-config message.timestamp.type=LogAppendTime" in line


def test_what_a_broker_does_not_report_is_no_fault() -> None:
    """A broker that cannot tell is believed."""
    assert config_faults({}, "x.") == []


def test_partitions_must_be_as_many_as_those_of_changes() -> None:
    """A topic with another number of partitions would part keys from their state."""
    [line] = count_faults(dict.fromkeys(RIGHT, 8) | {"x.records": 4}, "x.")
    assert line.startswith("topic x.records has 4 partitions, and must have 8")


def test_changes_that_grew_alone_are_what_is_wrong() -> None:
    """Where all the others agree, it is `changes` that must be as they are; where nothing decides, it is right."""
    [line] = count_faults(dict.fromkeys(RIGHT, 8) | {"x.changes": 9}, "x.")
    assert line.startswith("topic x.changes has 9 partitions, and must have 8")
    lines = count_faults({"x.changes": 9, "x.records": 8}, "x.")
    assert [line.partition(", and")[0] for line in lines] == ["topic x.records has 8 partitions"]


def test_fewer_replicas_than_asked_for_are_a_fault() -> None:
    """More are welcome, and a broker that does not tell is believed."""
    [line] = replica_faults({"x.changes": 1, "x.records": 3, "x.commands": 0}, 2)
    assert line.startswith("topic x.changes has a replication factor of 1, and must have 2 or more")


def test_dead_letters_hold_what_changes_let_in() -> None:
    """A dead letter is a record as received and some headers, so its topic takes larger ones."""
    sizes = {"x.changes": {"max.message.bytes": "1048588"}, "x.dead-letters": {"max.message.bytes": "1048588"}}
    [line] = config_faults(sizes, "x.")
    assert "x.dead-letters has max.message.bytes=1048588, and must have 1064972" in line
