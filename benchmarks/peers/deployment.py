"""Where one run of one system lives: its topics, its consumer group, its Redis, its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agents.names import TopicNames


@dataclass(frozen=True, slots=True)
class Deployment:
    """Nobody else has its consumer group `name`, nor topics with `name` in theirs.

    policy: path of the policy file. directory: for what a system keeps on disk. samples: of the file that a sampled
    worker writes. data_dir: where Syncline has its states in RocksDB; None for memory.
    """

    name: str
    kafka: str
    redis: str
    partitions: int
    policy: str
    directory: Path
    samples: Path | None = None
    data_dir: Path | None = None

    @property
    def prefix(self) -> str:
        """In front of every topic that the benchmark creates for the run."""
        return f"{self.name}."

    @property
    def names(self) -> TopicNames:
        """Syncline's topics; the peers use the names of `changes`, `records` and, unless they choose one, changelog."""
        return TopicNames.with_prefix(self.prefix)
