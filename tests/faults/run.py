"""One run under faults: a steady load, workers that are started again however they end, and the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from agents.names import TopicNames
from agents.topics import prepare_topics
from syncline.local import with_changes
from tests.conftest import Deployment
from tests.faults.load import POLICY, Feed, Generator
from tests.faults.progress import Progress
from tests.faults.verdict import Outcome, verdict
from tests.faults.worker import NORMAL, Supervisor, Worker
from tests.integration.shell import Shell, worker_settings

PATIENCE_SECONDS = 90.0


class FaultRun:
    """A deployment under load, to be used with `with`; the test injects faults, then calls drain and verify.

    deployment: where it lives; for a server of the test's own, `replace(deployment, kafka=..., redis=...)`.
    directory: for logs and the policy. seed, changes, per_second, entities: the load. worker_kafka, worker_redis:
    what the workers are told instead (a proxy); publisher and oracle keep to the deployment's. settings: of
    the workers, by name in agents/settings.py. All methods are synchronous: no use in an async test.
    """

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        *,
        seed: int = 1,
        changes: int = 4000,
        per_second: float = 400.0,
        entities: int = 1000,
        partitions: int = 8,
        worker_kafka: str | None = None,
        worker_redis: str | None = None,
        policy: dict[str, Any] = POLICY,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.deployment, self.directory, self.seed, self.policy = deployment, directory, seed, policy
        self.items = Generator(seed, entities).items(changes)
        policy_file = directory / "syncline.yaml"
        policy_file.write_text(yaml.safe_dump(policy))
        more = {"config": str(policy_file), "partitions": partitions, **(settings or {})}
        self.settings = worker_settings(deployment, **more)
        told = replace(deployment, kafka=worker_kafka or deployment.kafka, redis=worker_redis or deployment.redis)
        self.worker_settings = worker_settings(told, **more)
        self.shell = Shell(deployment, SYNCLINE_CONFIG=str(policy_file), SYNCLINE_PARTITIONS=str(partitions))
        self.feed = Feed(deployment.kafka, deployment.topic_prefix, self.items, per_second)
        topic = TopicNames.with_prefix(deployment.topic_prefix).changes
        self.progress = Progress(deployment.kafka, deployment.app_id, topic, partitions)
        self.supervisor = Supervisor(self._again)
        self.faults: list[float] = []
        self._own: dict[int, Mapping[str, object]] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        """Create the topics and begin to watch; nothing is published and no worker runs yet."""
        asyncio.run(prepare_topics(self.settings))
        self.progress.start()
        self.supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.cancel()
        self.supervisor.over()
        self.progress.over()

    @property
    def workers(self) -> dict[int, Worker]:
        """The workers by number. One that ended is another process under the same number soon after."""
        return self.supervisor.workers

    def publish(self) -> None:
        """Begin to publish in the background."""
        self.feed.start()

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
        self.supervisor.keep(number, self._new(number, arguments, environment or {}))
        return number

    def until_ready(self) -> None:
        """Wait until every worker is ready."""
        self._until(lambda: all(worker.ready() for worker in list(self.workers.values())), "workers are not ready")

    def until_progress(self) -> None:
        """Wait until the group commits more than it has now."""
        before = self.progress.committed
        self._until(lambda: self.progress.committed > before, "nothing was committed")

    def fault(self) -> None:
        """Note that a fault happens now, whose recovery is to be measured."""
        self.faults.append(time.monotonic())

    def kill_worker(self, number: int) -> None:
        """kill -9; it is started again at once."""
        self.fault()
        self.workers[number].send(signal.SIGKILL)

    def pause_worker(self, number: int) -> None:
        """SIGSTOP."""
        self.workers[number].send(signal.SIGSTOP)

    def resume_worker(self, number: int) -> None:
        """SIGCONT."""
        self.workers[number].send(signal.SIGCONT)

    def stop_worker(self, number: int, how: signal.Signals = signal.SIGTERM) -> int:
        """Have it end and stay away; returns its code."""
        return self.supervisor.release(number).end(how)

    def log_of(self, number: int) -> str:
        """What the workers of this number wrote on stderr, the earlier ones first."""
        return self._log(number).read_text(errors="replace")

    def codes(self) -> list[int]:
        """The codes of the workers that ended without being told to by stop_worker."""
        return [code for _, code in self.supervisor.codes]

    def drain(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is published, resolved, committed and in the view."""
        self._until(lambda: not self.feed.is_alive(), "the load is not published", timeout_seconds)
        assert self.feed.failure is None, f"seed {self.seed}: publishing failed: {self.feed.failure!r}"
        done = self.shell.run("wait", "--timeout", f"{timeout_seconds:g}")
        assert done.returncode == 0, f"seed {self.seed}: {done.stderr.decode()}"

    def verify(self) -> Outcome:
        """Compare every place with the others and with the oracle, and account for every offset."""
        return verdict(self, time.monotonic() - self._started)

    def _again(self, number: int) -> Worker:
        return self._new(number, NORMAL, {})

    def _new(self, number: int, arguments: Sequence[str], environment: Mapping[str, str]) -> Worker:
        settings = with_changes(self.worker_settings, self._own[number])
        return Worker(settings, self._log(number), arguments, environment)

    def _log(self, number: int) -> Path:
        return self.directory / f"worker-{number}.log"

    def _until(self, done: Any, trouble: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not done():
            assert time.monotonic() < deadline, f"seed {self.seed}: {trouble} after {timeout_seconds:g} s"
            time.sleep(0.1)
