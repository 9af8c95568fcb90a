"""One run of Syncline under faults: a steady load, workers that are started again however they end, the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from agents.topics import prepare_topics
from syncline.processes import with_changes
from tests.conftest import Deployment
from tests.faults.load import POLICY, Load
from tests.faults.loaded_run import PATIENCE_SECONDS, LoadedRun
from tests.faults.verdict import Outcome, verdict
from tests.faults.worker import NORMAL, Worker
from tests.integration.shell import Shell, worker_settings


class FaultRun(LoadedRun):
    """A deployment under load, to be used with `with`; the test injects faults, then calls drain and verify.

    deployment: where it lives; for a server of the test's own, `replace(deployment, kafka=..., redis=...)`.
    directory: for logs and the policy. worker_kafka, worker_redis: what the workers are told instead (a proxy);
    publisher and oracle keep to the deployment's. settings: of the workers, by name in agents/settings.py.
    load: seed, changes, per_second and entities, as in Load. All methods are synchronous: no use in an async test.
    """

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        *,
        partitions: int = 8,
        worker_kafka: str | None = None,
        worker_redis: str | None = None,
        policy: dict[str, Any] = POLICY,
        settings: Mapping[str, object] | None = None,
        **load: Any,
    ) -> None:
        self.deployment, self.policy = deployment, policy
        policy_file = directory / "syncline.yaml"
        policy_file.write_text(yaml.safe_dump(policy))
        more = {"config": str(policy_file), "partitions": partitions, **(settings or {})}
        steady = Load(**load)
        super().__init__(worker_settings(deployment, **more), directory, steady, steady.items())
        told = replace(deployment, kafka=worker_kafka or deployment.kafka, redis=worker_redis or deployment.redis)
        self.worker_settings = worker_settings(told, **more)
        self.shell = Shell(deployment, SYNCLINE_CONFIG=str(policy_file), SYNCLINE_PARTITIONS=str(partitions))
        self._own: dict[int, Mapping[str, object]] = {}
        self._started = time.monotonic()

    def create_topics(self) -> None:
        """Those of Syncline."""
        asyncio.run(prepare_topics(self.settings))

    def begin(self, workers: int) -> None:
        """Start so many workers, begin to publish when they are ready, and return once something is committed."""
        for _ in range(workers):
            self.start_worker()
        self.until_ready()
        self.publish()
        self.until_progress()

    def start_worker(
        self,
        arguments: Sequence[str] = NORMAL,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> int:
        """Start one more and return its number; from now on it is started again whenever it ends.

        arguments, environment: of Python, for the first start alone. settings: of this worker, each time; for
        example its own kafka and redis.
        """
        number = len(self._own)
        self._own[number] = settings or {}
        self.supervisor.keep(number, self.new_worker(number, arguments, environment))
        return number

    def new_worker(
        self, number: int, arguments: Sequence[str] = NORMAL, environment: Mapping[str, str] | None = None
    ) -> Worker:
        """Start the process of a worker."""
        settings = with_changes(self.worker_settings, self._own[number])
        return Worker(settings, self.log_file(number), arguments, environment or {})

    def until_ready(self) -> None:
        """Wait until every worker is ready."""
        self.until(lambda: all(worker.ready() for worker in list(self.workers.values())), "workers are not ready")

    def stop_worker(self, number: int, how: signal.Signals = signal.SIGTERM) -> int:
        """Have it end and stay away; returns its code."""
        return self.supervisor.release(number).end(how)

    def drain(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is published, resolved, committed and in the view; a load without end ends here."""
        self.until_published(timeout_seconds)
        done = self.shell.run("wait", "--timeout", f"{timeout_seconds:g}")
        assert done.returncode == 0, f"seed {self.seed}: {done.stderr.decode()}"

    def verify(self) -> Outcome:
        """Compare every place with the others and with the oracle, and account for every offset."""
        return verdict(self, time.monotonic() - self._started)
