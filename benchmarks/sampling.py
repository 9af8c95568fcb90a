"""CPU and memory of processes over time, so that a span chosen afterwards can be asked about."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

INTERVAL_SECONDS = 0.2
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: CPU seconds so far by name, `machine` for all that ran on it and `stolen` for what its host gave to
    other machines; at: seconds since the epoch."""

    at: float
    cpu_seconds: dict[str, float]
    rss_bytes: dict[str, int]


class Sampler:
    """Watches process trees, name -> pids of the roots, in a thread from `start` to `stop`."""

    def __init__(self, roots: Mapping[str, Sequence[int]]) -> None:
        self._roots = {name: [psutil.Process(pid) for pid in pids] for name, pids in roots.items()}
        self._roots["benchmark"] = [psutil.Process()]
        self._samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sampler", daemon=True)

    @property
    def names(self) -> list[str]:
        """What can be asked about."""
        return [*self._roots, "machine", "stolen"]

    def start(self) -> None:
        """Begin."""
        self._samples.append(self._look())
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end. Call it while the processes still run."""
        self._ended.set()
        self._thread.join()
        self._samples.append(self._look())

    def cpu_seconds(self, name: str, start: float, end: float) -> float:
        """CPU seconds of what has that name, between two times."""
        return self._at(name, end) - self._at(name, start)

    def peak_mib(self, name: str) -> float:
        """The most resident memory of what has that name, at one look."""
        return max(sample.rss_bytes[name] for sample in self._samples) / MIB

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            self._samples.append(self._look())

    def _look(self) -> Sample:
        cpu, rss = {}, {}
        for name, roots in self._roots.items():
            # The benchmark's own children are the others: they count for themselves.
            used = [usage(root, tree=name != "benchmark") for root in roots]
            cpu[name], rss[name] = sum(seconds for seconds, _ in used), sum(resident for _, resident in used)
        cpu["machine"], cpu["stolen"] = machine()
        return Sample(time.time(), cpu, rss)

    def _at(self, name: str, moment: float) -> float:
        """CPU seconds at a moment, on the line between the samples around it."""
        before = self._samples[0]
        for after in self._samples:
            if after.at >= moment:
                share = (moment - before.at) / (after.at - before.at) if after is not before else 1.0
                return before.cpu_seconds[name] + share * (after.cpu_seconds[name] - before.cpu_seconds[name])
            before = after
        return before.cpu_seconds[name]


def machine() -> tuple[float, float]:
    """CPU seconds of all that ran on this machine so far, and those that its host gave to other machines."""
    times = psutil.cpu_times()
    busy = times.user + times.nice + times.system + times.irq + times.softirq
    return busy, getattr(times, "steal", 0.0)


def usage(root: psutil.Process, tree: bool) -> tuple[float, int]:
    """CPU seconds so far and resident bytes of a process, with all below it if it is a tree."""
    cpu, rss = 0.0, 0
    try:
        processes = [root, *root.children(recursive=True)] if tree else [root]
    except psutil.Error:
        return cpu, rss
    for process in processes:
        try:
            times = process.cpu_times()
            cpu += times.user + times.system
            rss += process.memory_info().rss
        except psutil.Error:
            continue
    return cpu, rss
