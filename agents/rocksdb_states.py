"""The store of entity states in RocksDB, for states larger than memory: one database for each partition.

A database holds only what Kafka has acknowledged; states that are still being sent lie in memory above it. It has no
write-ahead log: the changelog topic is one. How far it goes is written when it is closed in order. Where that is
missing, or speaks of another topic, the database is removed, and recovery reads the whole changelog.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from agents.ending import EX_CONFIG, end_process
from agents.states import Changes, Reader
from agents.topic_identity import TopicIdentity

log = logging.getLogger(__name__)

#: Of what lies in a directory; another number is another layout, which is built anew.
LAYOUT = 1
#: All partitions of a process share both.
CACHE_BYTES = 64 * 1024 * 1024
UNWRITTEN_BYTES = 64 * 1024 * 1024
OPEN_FILES = 64
BLOOM_BITS = 10
LOG_FILES = 2

COUNT = "rocksdb.estimate-num-keys"
DATABASE, CLOSED = "states", "closed.json"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a database belongs to; it is of use for nothing else."""

    cluster: str | None
    topic: str
    topic_id: str | None
    partition: int
    layout: int = LAYOUT


class RocksStates:
    """The states of one partition in a directory (agents/states.py says what each method is for)."""

    def __init__(self, directory: Path, options: Options, binding: Binding) -> None:
        self._directory, self._options, self._binding = directory, options, binding
        #: Stored, and not acknowledged yet.
        self._unacknowledged: dict[bytes, bytes] = {}
        self._go_on(self._left_behind())
        try:
            self._database = self._open()
        except Exception as error:  # RocksDB has no type of its own
            self._remove(f"it cannot be opened: {error}")
            self._go_on({})
            self._database = self._open()

    def get(self, key: bytes, /) -> bytes | None:
        state = self._unacknowledged.get(key)
        return self._database.get(key) if state is None else state

    def store(self, states: Iterable[tuple[bytes, bytes]], /) -> None:
        self._unacknowledged.update(states)

    def keep(self, states: Iterable[tuple[bytes, bytes]]) -> None:
        batch = WriteBatch(raw_mode=True)
        unacknowledged = self._unacknowledged
        for key, state in states:
            newest = unacknowledged.get(key)
            if newest is not None:
                batch.put(key, state)
            if newest is state:  # and not what a later batch has made of it
                del unacknowledged[key]
        self._database.write(batch)

    def known(self, keys: Iterable[bytes]) -> Reader:
        wanted = list(set(keys))
        return dict(zip(wanted, self._database.get(wanted), strict=True))

    def replace(self, changes: Changes) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, state in changes.items():
            if state is None:
                batch.delete(key)
            else:
                batch.put(key, state)
        self._database.write(batch)

    def key_chunks(self, most: int) -> Iterator[list[bytes]]:
        unacknowledged = list(self._unacknowledged)
        for start in range(0, len(unacknowledged), most):
            yield unacknowledged[start : start + most]
        last: bytes | None = None
        while True:
            # A new iterator each time: one that lives on would keep the database open when it is closed.
            following = self._database.keys(from_key=last)
            chunk = [key for key in islice(following, most + 1) if key != last][:most]
            if not chunk:
                return
            last = chunk[-1]
            yield chunk

    def clear(self) -> None:
        self._database.close()
        self._unacknowledged.clear()
        shutil.rmtree(self._directory)
        self._go_on({})
        self._database = self._open()

    def close(self) -> None:
        """Close in order, so that the next process can go on. States that Kafka has not acknowledged are given up."""
        self._database.flush()
        self._database.close()
        ways = {"contained": self.contained, "contained_at": self.contained_at, "applied": self.applied}
        if self.deciders is not None:
            ways["deciders"] = self.deciders.decode()
        unfinished = self._directory / f"{CLOSED}.new"
        with unfinished.open("w") as file:
            json.dump({"binding": asdict(self._binding), **ways}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._directory / CLOSED)
        _sync(self._directory)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        yield from self._unacknowledged
        kept = self._database.keys()
        yield from (key for key in kept if key not in self._unacknowledged)

    def __len__(self) -> int:
        """About how many; counting them would read them all."""
        return int(self._database.property_int_value(COUNT) or 0)

    def _go_on(self, ways: dict[str, Any]) -> None:
        """Begin where others ended."""
        self.contained: int = ways.get("contained", -1)
        self.contained_at: float = ways.get("contained_at", 0.0)
        self.applied: int = ways.get("applied", -1)
        deciders: str | None = ways.get("deciders")
        self.deciders = None if deciders is None else deciders.encode()

    def _left_behind(self) -> dict[str, Any]:
        """What the last process said when it closed; nothing where its database is of no use, which is removed."""
        if not self._directory.exists():
            return {}
        told = self._directory / CLOSED
        try:
            closed = json.loads(told.read_text())
            if closed["binding"] == asdict(self._binding):
                # From here on it is not true any more.
                told.unlink()
                _sync(self._directory)
                return closed
            why = f"they belong to {closed['binding']}"
        except FileNotFoundError:
            why = "they were not closed in order"
        except (ValueError, LookupError, TypeError) as error:
            why = f"{told} cannot be read: {error!r}"
        self._remove(why)
        return {}

    def _remove(self, why: str) -> None:
        log.warning("The states in %s are removed and read from the changelog again: %s", self._directory, why)
        shutil.rmtree(self._directory)

    def _open(self) -> Rdict:
        self._directory.mkdir(parents=True, exist_ok=True)
        database = Rdict(str(self._directory / DATABASE), self._options)
        unlogged = WriteOptions()
        unlogged.disable_wal = True
        database.set_write_options(unlogged)
        return database


class RocksHome:
    """A worker's directory with the databases of its partitions, which nobody else may use meanwhile."""

    def __init__(self, directory: Path, topic: str) -> None:
        self._directory, self._topic = directory, topic
        self._options = bounded_options()
        self._identity: TopicIdentity | None = None
        self._lock: Any = None

    def enter(self, identity: TopicIdentity) -> None:
        """Take the directory for this topic. Ends the process with code 78 if another has it, or it cannot be used."""
        self._identity = identity
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self._directory / "lock").open("w")
            # The kernel gives it back, however this process ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            line = f"another process uses {self._directory}: each worker needs a SYNCLINE_DATA_DIR of its own"
            end_process(EX_CONFIG, line)
        except OSError as error:
            end_process(EX_CONFIG, f"SYNCLINE_DATA_DIR cannot be used: {error}")

    def open(self, partition: int) -> RocksStates:
        """The states of a partition, as they were closed, or none where those are of no use."""
        assert self._identity is not None, "nothing is opened before the directory is taken"
        binding = Binding(self._identity.cluster, self._topic, self._identity.topic_id, partition)
        return RocksStates(self._directory / self._topic / str(partition), self._options, binding)


def bounded_options() -> Options:
    """Options of all databases of a process, which bound the memory that they take together."""
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(CACHE_BYTES))
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_bloom_filter(BLOOM_BITS, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_manager(WriteBufferManager(UNWRITTEN_BYTES, False))
    options.set_max_open_files(OPEN_FILES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(LOG_FILES)
    return options


def _sync(directory: Path) -> None:
    """Make what was renamed or removed in a directory outlast a power failure."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
