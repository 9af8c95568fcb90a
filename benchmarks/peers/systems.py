"""The systems that are measured: how each is started, with which versions and settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from benchmarks.cluster import APPEND_TIME
from benchmarks.peers import installed
from benchmarks.peers.deployment import Deployment
from streams.topics import CHANGELOG, TOPICS

#: What every peer is told beside where everything is (`given.py`); acks=all wherever it is not the default.
COMMON: Final = {
    "BENCH_COMMIT_MS": 500,
    "BENCH_LINGER_MS": 5,
    "BENCH_BATCH_BYTES": 512 * 1024,
    "BENCH_FETCH_BYTES": 4 * 1024 * 1024,
    "BENCH_POLL_RECORDS": 5_000,
}
JVM: Final = ("-Xms512m", "-Xmx2g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


@dataclass(frozen=True, slots=True)
class Peer:
    """One system, as one worker process.

    stock: it reads JSON and does the simple job of `fold.py`. view: it also writes Redis. slow: it gets fewer changes.
    what, settings: for the table's legend. command: arguments of its process. versions: by package; asking for them
    installs what the system needs, and raises NotInstalled where that cannot be.
    """

    name: str
    what: str
    settings: str
    command: Callable[[Deployment], Sequence[str]]
    versions: Callable[[], Mapping[str, str]]
    stock: bool = True
    view: bool = False
    slow: bool = False

    def topics(self, place: Deployment) -> dict[str, dict[str, str]]:
        """The topics to create before the start, with their settings; a framework makes its changelog itself."""
        if not self.stock:
            return {topic.full_name(place.prefix): {**topic.config, **APPEND_TIME} for topic in TOPICS}
        names = place.names
        return {names.changes: APPEND_TIME, names.records: APPEND_TIME, names.changelog: CHANGELOG.config}

    def environment(self, place: Deployment) -> dict[str, str]:
        """Its environment, without the settings of somebody else's Syncline."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCLINE_")}
        return inherited | (self._given(place) if self.stock else self._settings(place))

    def _settings(self, place: Deployment) -> Mapping[str, str]:
        settings = {
            "SYNCLINE_KAFKA": place.kafka,
            "SYNCLINE_APP_ID": place.name,
            "SYNCLINE_TOPIC_PREFIX": place.prefix,
            "SYNCLINE_PARTITIONS": str(place.partitions),
            "SYNCLINE_CONFIG": place.policy,
            "SYNCLINE_WEB_PORT": "0",
        }
        if place.data_dir is not None:
            settings |= {"SYNCLINE_STORE": "rocksdb", "SYNCLINE_DATA_DIR": str(place.data_dir)}
        return settings | ({"SYNCLINE_REDIS": place.redis} if self.view else {})

    def _given(self, place: Deployment) -> Mapping[str, str]:
        given = {
            "BENCH_APP_ID": place.name,
            "BENCH_KAFKA": place.kafka,
            "BENCH_PARTITIONS": str(place.partitions),
            "BENCH_CHANGES": place.names.changes,
            "BENCH_RECORDS": place.names.records,
            "BENCH_CHANGELOG": place.names.changelog,
            "BENCH_DIRECTORY": str(place.directory / place.name),
        } | {name: str(value) for name, value in COMMON.items()}
        return given | ({"BENCH_REDIS": place.redis} if self.view else {})


def ours(*packages: str) -> Callable[[], Mapping[str, str]]:
    """Versions of packages in our own environment."""
    return lambda: {package: version(package) for package in packages}


def syncline(place: Deployment) -> list[str]:
    """Arguments of Syncline's worker."""
    return [sys.executable, "-m", "benchmarks.worker", *([str(place.samples)] if place.samples else [])]


def syncline_processes(place: Deployment) -> list[str]:
    """Arguments of Syncline's worker of several processes."""
    return [sys.executable, "-m", "syncline", "worker", "--processes", str(PROCESSES)]


def stock_faust(place: Deployment) -> list[str]:
    """Arguments of stock Faust."""
    program = ["-m", "faust", "-A", "benchmarks.peers.stock_faust", "--datadir", str(place.directory / place.name)]
    return [sys.executable, *program, "worker", "-l", "info", "--without-web"]


def aiokafka_loop(place: Deployment) -> list[str]:
    """Arguments of the loop by hand."""
    return [sys.executable, "-m", "benchmarks.peers.aiokafka_loop"]


def quix(place: Deployment) -> list[str]:
    """Arguments of Quix Streams."""
    return [str(installed.quix_python()), "-m", "benchmarks.peers.quix.resolve"]


def kafka_streams(place: Deployment) -> list[str]:
    """Arguments of Kafka Streams."""
    return ["java", *JVM, "-cp", installed.kafka_streams_classpath(), "peers.Main"]


#: One for each core of the machines that this runs on.
PROCESSES: Final = 2

SYNCLINE: Final = Peer(
    "syncline",
    "one `syncline worker`, everything on: Avro in, states with changelog, golden records, conflicts, Redis view",
    "the worker's own: commit each 500 ms, no linger, fetches of 1 MiB, batches of at most 512 KiB",
    syncline,
    ours("faust-streaming", "mode-streaming", "aiokafka", "redis", "hiredis", "fastavro"),
    stock=False,
    view=True,
)
KAFKA_STREAMS: Final = Peer(
    "kafka_streams",
    "Processor API, one thread, a store in memory with its changelog; a state and a golden record for each change",
    f"at least once, no store cache, {' '.join(JVM[:3])}",
    kafka_streams,
    installed.kafka_streams_versions,
)
AIOKAFKA_LOOP: Final = Peer(
    "aiokafka_loop",
    "by hand: getmany, states in memory with a changelog, record batches by send_batch; a state and a golden record "
    "for each entity and poll",
    "CPython's collector off",
    aiokafka_loop,
    ours("aiokafka", "redis", "hiredis", "orjson"),
)
QUIX: Final = Peer(
    "quix",
    "Quix Streams: a stateful function, RocksDB; a golden record for each change, a state for each entity and commit",
    "CPython's collector off, fetch.queue.backoff.ms 50",
    quix,
    installed.quix_versions,
)
STOCK_FAUST: Final = Peer(
    "stock_faust",
    "plain Faust: one agent, a table in memory with its changelog; a state and a golden record for each change",
    "buffers of 16,384, stream_wait_empty off, -l info",
    stock_faust,
    ours("faust-streaming", "mode-streaming", "aiokafka", "redis", "hiredis", "orjson"),
    slow=True,
)
STOCK_FAUST_REDIS: Final = replace(
    STOCK_FAUST, name="stock_faust_redis", view=True, what="the same and one awaited SET for each change"
)
PEERS: Final = (
    SYNCLINE,
    replace(SYNCLINE, name="syncline-without-view", view=False, what="the same without Redis"),
    replace(
        SYNCLINE,
        name="syncline-processes",
        command=syncline_processes,
        what=f"one `syncline worker --processes {PROCESSES}`, everything on",
    ),
    replace(
        SYNCLINE,
        name="syncline-processes-without-view",
        command=syncline_processes,
        view=False,
        what="the same without Redis",
    ),
    replace(
        KAFKA_STREAMS,
        name="kafka_streams_redis",
        view=True,
        what="the same as `kafka_streams` and SETs in pipelines of at most 1,000 or 50 ms (a commit does not wait for "
        "the last)",
    ),
    KAFKA_STREAMS,
    replace(
        AIOKAFKA_LOOP,
        name="aiokafka_loop_redis",
        view=True,
        what="the same as `aiokafka_loop` and one MSET for each poll of a partition",
    ),
    AIOKAFKA_LOOP,
    replace(
        QUIX, name="quix_redis", view=True, what="the same as `quix` and its own Redis sink: a pipeline for each commit"
    ),
    QUIX,
    STOCK_FAUST,
    STOCK_FAUST_REDIS,
)
