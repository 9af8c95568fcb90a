"""`python -m benchmarks throughput`: one job on every system, one after the other, side by side in one table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.job import Job
from benchmarks.measure import LATE, WARM_UP, Result
from benchmarks.peers.systems import COMMON, PEERS, Peer
from benchmarks.stage import Stage, say, stage

HEADINGS: Final = (
    "system",
    "runs",
    "changes",
    "changes/s",
    "to the last commit",
    "cold",
    "start s",
    "CPU s/million",
    "broker",
    "Redis",
    "peak RSS MiB",
    "golden records",
    "other cores",
    "stolen",
    "right",
)
#: Who is compared with whom: both write Redis, or neither does.
RATIOS: Final = (
    ("syncline-processes", "kafka_streams_redis"),
    ("syncline", "kafka_streams_redis"),
    ("syncline", "aiokafka_loop_redis"),
    ("syncline", "quix_redis"),
    ("syncline", "stock_faust_redis"),
    ("syncline-processes-without-view", "kafka_streams"),
    ("syncline-without-view", "kafka_streams"),
    ("syncline-without-view", "aiokafka_loop"),
    ("syncline-without-view", "quix"),
    ("syncline-without-view", "stock_faust"),
)
RATIO_HEADINGS: Final = ("", "times the changes/s", "times the CPU")
METHOD: Final = f"""\
- The input is in its topic before a system starts. Each system is one command and has the broker, the machine and an
  empty Redis to itself. One process each, but for `syncline-processes`: a process of Python computes on one core, while
  a JVM with one stream thread uses more (the column CPU times the rate says how many).
- `changes/s`: between the moments at which {WARM_UP:.0%} and {LATE:.0%} of the changes were done. So the first half
  warms up every system alike (a JVM compiles, states and caches grow), and what is under way counts at neither end.
  A change is done when a golden record that came from it, or from a later one of its partition, is appended to the
  topic; the clock is the broker's (`LogAppendTime`).
- `to the last commit`: from the same {WARM_UP:.0%} until the committed offsets reach the end (asked each 50 ms) and
  Syncline's view has every record; that holds what was under way before, and up to one commit interval of waiting,
  {COMMON["BENCH_COMMIT_MS"]} ms for all. `cold`: from the first golden record to the last.
- `start s`: from the start of the process to the first golden record: imports, joining the group, recovery of nothing.
- CPU: seconds of the process tree for each million changes, in the time of `changes/s`; the broker's and Redis's
  beside it.
- `right`: the digest of the last golden record of every entity, in the topic and in Redis, is that of a fold of the
  same changes: `streams.fold.Replay` for Syncline, `benchmarks/peers/fold.py` for the others.
- All but Syncline read JSON and do the simple merge that people write (a value for each field, last update wins,
  priority within a second). Syncline reads Avro, keeps what loses, with its causes, and reports each conflict to a
  topic. It and the loop by hand write one state and one golden record for each entity of a batch.
- Slow systems get the first part of the same changes, where the table says fewer.
- `other cores`: what neither the system, the broker, Redis nor the benchmark used, the most of the runs; `stolen`: what
  this machine's host gave to others meanwhile.
- `--rounds 2` runs the systems backwards, too. Where there were several runs, the median."""


async def throughput(job: Job, slow_changes: int, rounds: int, peers: Sequence[Peer]) -> list[Result]:
    """The results of all runs. NotInstalled: a peer cannot be run here. RunFailed: it did not do the job."""
    results = []
    for peer in peers:
        peer.versions()  # now, so that what can be installed is, and what cannot is known, before the first run
    async with stage(job, slow_changes) as here:
        for number in range(rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                results.append(await one(here, peer))
    return results


async def one(here: Stage, peer: Peer) -> Result:
    """One run, with a line about it."""
    result = await here.run(peer)
    right = "outputs right" if result.right else f"OUTPUTS DIFFER: {result.checks}"
    say(f"{peer.name}: {result.steady.rate:,.0f} changes/s, to the last commit {result.committed.rate:,.0f}; {right}")
    return result


def by_peer(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs of each system that was measured, in the table's order."""
    runs = {peer.name: [result for result in results if result.peer == peer.name] for peer in PEERS}
    return {name: found for name, found in runs.items() if found}


def median(runs: Sequence[Result], figure: Callable[[Result], float]) -> float:
    """The median of a figure over runs."""
    return statistics.median(map(figure, runs))


def rate(runs: Sequence[Result]) -> float:
    """Changes per second."""
    return median(runs, lambda run: run.steady.rate)


def committed(runs: Sequence[Result]) -> float:
    """Changes per second to the last commit."""
    return median(runs, lambda run: run.committed.rate)


def cpu(runs: Sequence[Result], part: str = "peer") -> float:
    """CPU seconds for a million changes."""
    return median(runs, lambda run: run.cpu_seconds_per_million[part])


def verdict(runs: Sequence[Result]) -> str:
    """What became of each comparison."""
    kinds = runs[0].checks
    return ", ".join(f"{kind} {'ok' if all(run.checks[kind] for run in runs) else 'DIFFERS'}" for kind in kinds)


def rows(results: Sequence[Result]) -> list[list[str]]:
    """One row of the table for each system that was measured."""
    return [
        [
            name,
            str(len(runs)),
            f"{runs[0].changes:,}",
            f"{rate(runs):,.0f}",
            f"{committed(runs):,.0f}",
            f"{median(runs, lambda run: run.cold.rate):,.0f}",
            f"{median(runs, lambda run: run.start_seconds):.1f}",
            *(f"{cpu(runs, part):.1f}" for part in ("peer", "broker", "redis")),
            f"{max(run.peak_rss_mib for run in runs):.0f}",
            f"{runs[0].outputs['records']:,}",
            f"{max(run.other_cores for run in runs):.2f}",
            f"{max(run.stolen_cores for run in runs):.2f}",
            verdict(runs),
        ]
        for name, runs in by_peer(results).items()
    ]


def ratios(results: Sequence[Result]) -> list[list[str]]:
    """Syncline beside each of the others, where both were measured."""
    runs = by_peer(results)
    return [
        [
            f"{ours} / {theirs}",
            f"{rate(runs[ours]) / rate(runs[theirs]):.2f}",
            f"{cpu(runs[ours]) / cpu(runs[theirs]):.2f}",
        ]
        for ours, theirs in RATIOS
        if ours in runs and theirs in runs
    ]


def legend(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """What each measured system is, its settings and its versions."""
    measured = by_peer(results)
    return {
        peer.name: {"what": peer.what, "settings": peer.settings, "versions": dict(peer.versions())}
        for peer in PEERS
        if peer.name in measured
    }


def described(systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The legend as a list."""
    return [
        f"- `{name}`: {system['what']}. Settings: {system['settings']}. "
        f"Versions: {', '.join(f'{package} {version}' for package, version in system['versions'].items())}."
        for name, system in systems.items()
    ]


def disturbed(results: Sequence[Result]) -> str:
    """A warning when something else used the machine during a run; empty when nothing did."""
    return report.disturbed((result.peer, result.other_cores + result.stolen_cores) for result in results)


def write(name: str, results: Sequence[Result], facts: dict[str, Any]) -> Path:
    """Print the tables and write results/<name>.md and .json; returns the path of the first."""
    report.show_table("One job on one machine", HEADINGS, rows(results))
    report.show_table("Ratios", RATIO_HEADINGS, ratios(results))
    warning = disturbed(results)
    print(warning)
    facts["systems"] = legend(results)
    loops = ", ".join(str(result.loop_ms) for result in results)
    lines = [
        "# Throughput of one job",
        "",
        *([f"**{warning}**", ""] if warning else []),
        *report.markdown(HEADINGS, rows(results)),
        "",
        *report.markdown(RATIO_HEADINGS, ratios(results)),
        "",
        *described(facts["systems"]),
        "",
        f"All but Syncline: {', '.join(f'{setting} {value:,}' for setting, value in COMMON.items())}, acks from all.",
        "",
        *(f"- {what}: {fact}" for what, fact in facts.items() if what != "systems"),
        f"- ms of a fixed Python loop (the speed of a core) before each run: {loops}",
        "",
        "## How it is measured",
        "",
        METHOD,
        "",
    ]
    return report.save(name, lines, facts, [result.as_dict() for result in results])
