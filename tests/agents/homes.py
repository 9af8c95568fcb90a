"""The stores of states, each made in one way, for the tests that all of them must pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.rocksdb_states import RocksHome
from agents.states import Home, MemoryHome
from agents.topic_identity import TopicIdentity

CHANGELOG = "t.changelog"
IDENTITY = TopicIdentity("cluster", "topic id")

HomeOf = Callable[[Path], Home]


def memory_home(directory: Path) -> MemoryHome:
    """The store in memory."""
    return MemoryHome()


def rocksdb_home(directory: Path, identity: TopicIdentity = IDENTITY) -> RocksHome:
    """The store in RocksDB, in a directory that nobody uses now."""
    home = RocksHome(directory, CHANGELOG)
    home.enter(identity)
    return home


HOMES: dict[str, HomeOf] = {"memory": memory_home, "rocksdb": rocksdb_home}
