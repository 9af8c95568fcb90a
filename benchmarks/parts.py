"""Where a worker's CPU time goes, by part: samples of the event loop's stack, and the CPU clock of each thread.

The kernel sends SIGPROF after each 2 ms of CPU time; Python runs the signal's function between two bytecodes of
the main thread. Each sample weighs what the main thread's own CPU clock went on since the sample before. Modules
compiled by mypyc have no frames in Python: their time is that of the interpreted function that called them.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL_SECONDS: Final = 0.002

#: The innermost frame whose file ends with the first, or lies in it, and whose function starts with the second.
PARTS: Final = (
    ("/schemas/fast.py", "encode", "encode"),
    ("/schemas/fast.py", "", "decode"),
    ("/schemas/codec.py", "", "decode"),
    ("/streams/admission.py", "", "decode"),
    ("/streams/encoding.py", "", "encode"),
    ("/streams/entity_codec.py", "decode", "decode"),
    ("/streams/entity_codec.py", "", "encode"),
    ("/streams/golden.py", "", "encode"),
    ("/streams/batch.py", "_emit", "encode"),
    ("/streams/", "", "merge"),
    ("/agents/view.py", "", "redis"),
    ("/agents/redis_connection.py", "", "redis"),
    ("/agents/handover.py", "", "redis"),
    ("/agents/materialize.py", "", "redis"),
    ("/site-packages/redis/", "", "redis"),
    ("/agents/outbox.py", "", "sends"),
    ("/aiokafka/producer/", "", "sends"),
    ("/aiokafka/record/", "", "sends"),
    ("/aiokafka/consumer/", "", "consumer"),
    ("/aiokafka/", "", "kafka connections"),
    ("/agents/resolve.py", "resolve_one", "kernel, compiled"),
    ("/asyncio/base_events.py", "run_forever", "event loop, other"),
    ("/agents/", "", "agents, other"),
    ("/site-packages/faust/", "", "faust and mode"),
    ("/site-packages/mode/", "", "faust and mode"),
)
REST: Final = "start and end"


def part_of(frame: FrameType | None) -> str:
    """The part that a stack belongs to: what the innermost frame of any part says."""
    while frame is not None:
        code = frame.f_code
        for file, function, part in PARTS:
            inside = file in code.co_filename if file.endswith("/") else code.co_filename.endswith(file)
            if inside and code.co_name.startswith(function):
                return part
        frame = frame.f_back
    return REST


@contextmanager
def sampled_into(path: str) -> Iterator[None]:
    """Sample this process from here on and write the seconds by part to a JSON file at the end."""
    seconds: Counter[str] = Counter()
    before = time.thread_time()

    def sample(_: int, frame: FrameType | None) -> None:
        nonlocal before
        now = time.thread_time()
        seconds[part_of(frame)] += now - before
        before = now

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    threads = ThreadClocks()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        result = {"main thread": dict(seconds), "other threads": threads.seconds()}
        Path(path).write_text(json.dumps(result, indent=2))


class ThreadClocks:
    """CPU seconds of the other threads, watched because a thread that ended has no clock any more."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def seconds(self) -> dict[str, float]:
        """By what the thread runs, or its class."""
        return dict(self._seconds)

    def _watch(self) -> None:
        while True:
            for thread in threading.enumerate():
                if thread is threading.main_thread() or thread.ident is None:
                    continue
                try:
                    clock = time.pthread_getcpuclockid(thread.ident)
                    # Faust runs its Kafka consumer in a thread that is named by nothing but a number.
                    name = type(getattr(thread, "service", thread)).__name__
                    self._seconds[name] = time.clock_gettime(clock)
                except OSError:
                    continue
            time.sleep(0.2)
