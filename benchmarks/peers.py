"""The systems that are measured: how each is started, what it reads and writes, when it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.names import TopicNames
from benchmarks.cluster import APPEND_TIME
from streams.topics import TOPICS

PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class Peer:
    """One system. stock: plain Faust. view: it also writes Redis. what: one line for the table's legend."""

    name: str
    stock: bool
    view: bool
    what: str


SYNCLINE = Peer(
    "syncline",
    stock=False,
    view=True,
    what="one `syncline worker`, everything on: Avro in, states with changelog, golden records, conflicts, Redis view",
)
PEERS = (
    SYNCLINE,
    Peer("syncline-without-view", stock=False, view=False, what="the same without Redis"),
    Peer(
        "stock_faust",
        stock=True,
        view=False,
        what="plain Faust: JSON in, one agent, a table in memory with its changelog, golden records",
    ),
    Peer("stock_faust_redis", stock=True, view=True, what="the same and one awaited Redis SET for each change"),
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where one run lives; nobody else has its topics and its consumer group `name`.

    policy: path of the policy file. samples: of the file that a sampled worker writes.
    """

    name: str
    kafka: str
    redis: str
    partitions: int
    policy: str
    samples: Path | None = None

    @property
    def prefix(self) -> str:
        """In front of every topic of the run."""
        return f"{self.name}."

    @property
    def names(self) -> TopicNames:
        """Syncline's topics; stock Faust uses two of the same names."""
        return TopicNames.with_prefix(self.prefix)

    def topics(self, peer: Peer) -> dict[str, dict[str, str]]:
        """The topics to create before the start, with their settings; Faust makes its changelog itself."""
        if peer.stock:
            return {self.names.changes: APPEND_TIME, self.names.records: APPEND_TIME}
        return {topic.full_name(self.prefix): {**topic.config, **APPEND_TIME} for topic in TOPICS}

    def command(self, peer: Peer) -> list[str]:
        """Arguments of the process."""
        if peer.stock:
            faust = [PYTHON, "-m", "faust", "-A", "benchmarks.stock_faust", "--datadir", f"/tmp/{self.name}"]
            return [*faust, "worker", "-l", "info", "--without-web"]
        return [PYTHON, "-m", "benchmarks.worker", *([str(self.samples)] if self.samples else [])]

    def environment(self, peer: Peer) -> dict[str, str]:
        """Its environment, without the settings of somebody else's Syncline."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCLINE_")}
        return inherited | (self._stock_settings(peer) if peer.stock else self._settings(peer))

    def _settings(self, peer: Peer) -> Mapping[str, str]:
        settings = {
            "SYNCLINE_KAFKA": self.kafka,
            "SYNCLINE_APP_ID": self.name,
            "SYNCLINE_TOPIC_PREFIX": self.prefix,
            "SYNCLINE_PARTITIONS": str(self.partitions),
            "SYNCLINE_CONFIG": self.policy,
            "SYNCLINE_WEB_PORT": "0",
        }
        return settings | ({"SYNCLINE_REDIS": self.redis} if peer.view else {})

    def _stock_settings(self, peer: Peer) -> Mapping[str, str]:
        settings = {
            "BENCH_APP_ID": self.name,
            "BENCH_KAFKA": self.kafka,
            "BENCH_PARTITIONS": str(self.partitions),
            "BENCH_CHANGES": self.names.changes,
            "BENCH_RECORDS": self.names.records,
        }
        return settings | ({"BENCH_REDIS": self.redis} if peer.view else {})
