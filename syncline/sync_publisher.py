"""The publisher for programs without asyncio: the same calls, each returning when Kafka has the change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka.structs import RecordMetadata

from schemas.change import Change
from syncline.publisher import Publisher, Read

T = TypeVar("T")


class SyncPublisher:
    """A `Publisher` on an event loop in a thread of its own; use it with `with`. Any thread may call it.

    The arguments are those of `Publisher`; each method does and raises what its namesake there does.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._publisher = Publisher(*args, **kwargs)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and connect."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="syncline-publisher", daemon=True)
        self._thread.start()
        try:
            self._call(self._publisher.start())
        except BaseException:
            self._end_thread()
            raise

    def stop(self) -> None:
        """Send what is under way, disconnect and end the thread; a second call does nothing."""
        if self._loop is not None:
            try:
                self._call(self._publisher.stop())
            finally:
                self._end_thread()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def publish(self, change: Change | Mapping[str, Any], *, seen_from: Read | None = None) -> RecordMetadata:
        """See Publisher.publish."""
        return self._call(self._publisher.publish(change, seen_from=seen_from))

    def publish_many(self, changes: Iterable[Change | Mapping[str, Any]]) -> list[RecordMetadata]:
        """See Publisher.publish_many."""
        return self._call(self._publisher.publish_many(changes))

    def update(self, record: Read, *, fields: Mapping[str, Any], source: str, **rest: Any) -> RecordMetadata:
        """See Publisher.update."""
        return self._call(self._publisher.update(record, fields=fields, source=source, **rest))

    def delete(self, record: Read, *, source: str, **rest: Any) -> RecordMetadata:
        """See Publisher.delete."""
        return self._call(self._publisher.delete(record, source=source, **rest))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the publisher is not started; use it with `with`, or call start()")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
