"""`python -m benchmarks profile`: Syncline's worker on the job, sampled, and its CPU time by part."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.job import Job
from benchmarks.peers import SYNCLINE, Deployment, Peer
from benchmarks.stage import Stage, say, stage


@dataclass(frozen=True, slots=True)
class Sampled(Deployment):
    """A deployment whose worker writes its samples to a file."""

    file: Path

    def command(self, peer: Peer) -> list[str]:
        return [*super().command(peer), str(self.file)]
