"""Workers under a load of seeded changes, and what is done to them: the same for ours and for plain Faust."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from agents.names import TopicNames
from agents.settings import Settings
from tests.faults.load import Feed, Item, Load
from tests.faults.progress import Progress
from tests.faults.worker import Supervisor, Worker

PATIENCE_SECONDS = 90.0


class LoadedRun(ABC):
    """A load, and workers that are started again however they end; to be used with `with`.

    settings: where it lives, for those who publish and judge. directory: for logs. to_come: what is published, at the
    rate of the load. items: what was published so far. faults: when (time.monotonic()) there was one whose recovery
    is to be measured.
    """

    def __init__(self, settings: Settings, directory: Path, load: Load, to_come: Iterator[Item]) -> None:
        self.settings, self.directory, self.load, self.seed = settings, directory, load, load.seed
        self.items: list[Item] = []
        self.faults: list[float] = []
        self._to_come = to_come
        self.feed = self._new_feed()
        topic = TopicNames.with_prefix(settings.topic_prefix).changes
        self.progress = Progress(settings.kafka, settings.app_id, topic, settings.partitions)
        self.supervisor = Supervisor(self.new_worker)

    def __enter__(self) -> Self:
        """Create the topics and begin to watch; nothing is published and no worker runs yet."""
        self.create_topics()
        self.progress.start()
        self.supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.cancel()
        self.supervisor.over()
        self.progress.over()

    @abstractmethod
    def create_topics(self) -> None:
        """Create all that the workers need."""

    @abstractmethod
    def new_worker(self, number: int) -> Worker:
        """Start the worker of a number, whose last process has ended."""

    @property
    def workers(self) -> dict[int, Worker]:
        """The workers by number. One that ended is another process under the same number soon after."""
        return self.supervisor.workers

    def publish(self) -> None:
        """Begin to publish in the background; after a drain, go on with what comes next."""
        self.feed = self._new_feed()
        self.feed.start()

    def until_published(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until Kafka has the whole load; one without end ends here."""
        if self.load.changes is None:
            self.feed.finish()
        self.until(lambda: not self.feed.is_alive(), "the load is not published", timeout_seconds)
        assert self.feed.failure is None, f"seed {self.seed}: publishing failed: {self.feed.failure!r}"

    def until_progress(self) -> None:
        """Wait until the group commits more than it has now."""
        before = self.progress.committed
        self.until(lambda: self.progress.committed > before, "nothing was committed")

    def until(self, holds: Callable[[], object], trouble: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds. trouble: what to say when it does not in time."""
        deadline = time.monotonic() + timeout_seconds
        while not holds():
            assert time.monotonic() < deadline, f"seed {self.seed}: {trouble} after {timeout_seconds:g} s"
            time.sleep(0.05)

    def until_recovered(self) -> None:
        """Wait until all that was in the log at the last fault is resolved and committed."""
        at = self.faults[-1]
        self.until(lambda: self.progress.recovery_seconds(at) is not None, "what was in the log is not resolved")

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

    def log_of(self, number: int) -> str:
        """What the workers of this number wrote on stderr, the earlier ones first."""
        return self.log_file(number).read_text(errors="replace")

    def log_file(self, number: int) -> Path:
        """Where they write it."""
        return self.directory / f"worker-{number}.log"

    def codes(self) -> list[int]:
        """The codes of the workers that ended without being told to by stop_worker."""
        return [code for _, code in self.supervisor.codes]

    def _new_feed(self) -> Feed:
        return Feed(self.settings.kafka, self.settings.topic_prefix, self._to_come, self.load.per_second, self.items)
