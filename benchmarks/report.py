"""The figures as a table, as Markdown and as JSON, with what is needed to judge and repeat them."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.job import Job
from benchmarks.measure import Result
from benchmarks.peers import PEERS
from tests.servers.kafka import LONG_RUN, jars

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("faust-streaming", "mode-streaming", "aiokafka", "redis", "hiredis", "orjson", "fastavro")
HEADINGS = (
    "system",
    "runs",
    "changes",
    "changes/s",
    "x stock Faust",
    "x stock Faust + Redis",
    "changes/s until done",
    "start s",
    "CPU s/million",
    "broker",
    "Redis",
    "peak RSS MiB",
    "records",
    "other cores",
    "right",
)
#: Cores that other work may use before the rates of a run say nothing (of each other, least of all).
OTHERS_ALLOWED = 0.1
METHOD = """\
- `changes/s`: from the broker's append of the first golden record to that of the last (`LogAppendTime`). The changes
  that the first append stands for are not counted. Syncline writes one golden record for each entity of a batch,
  stock Faust one for each change that is no duplicate.
- `changes/s until done`: from that first append until the committed offsets reach the end (asked each 50 ms) and the
  view in Redis has every record. It holds up to one commit interval of waiting (Syncline 0.5 s, stock Faust 1 s).
- `start s`: from the start of the process to the first append: imports, joining the group, recovery of nothing.
- CPU: seconds of the process tree for each million changes in the span until done; the broker's and Redis's beside it.
- `right`: the digest of the last golden record of every entity, in the topic and in Redis, is that of a fold of the
  same changes: `streams.fold.Replay` for Syncline, `benchmarks/stock_fold.py` for stock Faust.
- Stock Faust gets the first part of the same changes as JSON, where the table says fewer. That its rate would
  stay the same with more is assumed, not measured.
  Its merge is the simple one that people write (a value for each field, last update wins, priority within a second);
  Syncline's also keeps what loses, with its causes, and reports each conflict to a topic.
- Nothing is warmed up: the first system meets a broker that has just started. `--rounds 2` runs them backwards, too.
- `other cores`: what neither the system, the broker, Redis nor the benchmark used, the most of the runs.
- All on one machine with the broker and Redis; where there were several runs, the median."""


def environment(job: Job, started_load: Sequence[float]) -> dict[str, Any]:
    """Machine, versions, command, load."""
    kafka = next((jar.stem.removeprefix("kafka_2.13-") for jar in jars().glob("kafka_2.13-*.jar")), "unknown")
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": f"{psutil.cpu_count()} cores ({cpu_model()}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "load average": f"{started_load[0]:.2f} before, {os.getloadavg()[0]:.2f} after",
        "versions": f"Python {platform.python_version()}, Apache Kafka {kafka} ({' '.join(LONG_RUN)}), "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "compiled modules": ", ".join(compiled()) or "none: everything runs interpreted",
        "job": f"{job.changes:,} changes of at most {job.entities:,} entities, seed {job.seed}",
    }


def cpu_model() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def compiled() -> list[str]:
    """Modules of schemas/ and streams/ that are imported as extensions."""
    names = []
    for package in ("schemas", "streams"):
        for source in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(source.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found = importlib.util.find_spec(name)
            if found is not None and found.origin is not None and not found.origin.endswith(".py"):
                names.append(name)
    return names


def rows(results: Sequence[Result]) -> list[list[str]]:
    """One row of the table for each system that was measured."""
    by_peer = {peer.name: [r for r in results if r.peer == peer.name] for peer in PEERS}
    plain = median(by_peer["stock_faust"], lambda r: r.output_rate)
    with_redis = median(by_peer["stock_faust_redis"], lambda r: r.output_rate)
    return [row(name, runs, plain, with_redis) for name, runs in by_peer.items() if runs]


def row(name: str, runs: Sequence[Result], plain: float | None, with_redis: float | None) -> list[str]:
    """The cells of one system. plain, with_redis: the rates of stock Faust."""
    rate = statistics.median(r.output_rate for r in runs)
    cpu = {
        part: statistics.median(r.cpu_seconds_per_million[part] for r in runs) for part in ("peer", "broker", "redis")
    }
    return [
        name,
        str(len(runs)),
        f"{runs[0].changes:,}",
        f"{rate:,.0f}",
        f"{rate / plain:.1f}" if plain else "-",
        f"{rate / with_redis:.1f}" if with_redis else "-",
        f"{statistics.median(r.done_rate for r in runs):,.0f}",
        f"{statistics.median(r.start_seconds for r in runs):.1f}",
        *(f"{seconds:.1f}" for seconds in cpu.values()),
        f"{max(r.peak_rss_mib for r in runs):.0f}",
        f"{runs[0].outputs.get('records', 0):,}",
        f"{max(r.other_cores for r in runs):.2f}",
        ", ".join(f"{what} {'ok' if all(r.checks[what] for r in runs) else 'DIFFERS'}" for what in runs[0].checks),
    ]


def median(runs: Sequence[Result], figure: Callable[[Result], float]) -> float | None:
    """The median of a figure; None without runs."""
    return statistics.median(map(figure, runs)) if runs else None


def show(results: Sequence[Result]) -> None:
    """Print the table."""
    show_table("One job on one machine", HEADINGS, rows(results))
    Console(width=200).print(disturbed(results))


def show_table(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a table whose first and last columns may hold words."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        words = number in (0, len(headings) - 1)
        table.add_column(heading, justify="left" if words else "right", no_wrap=words and number == 0)
    for line in cells:
        table.add_row(*line)
    Console(width=200).print(table)


def disturbed(results: Sequence[Result]) -> str:
    """A warning when something else used the machine during a run; empty when nothing did."""
    names = sorted({r.peer for r in results if r.other_cores > OTHERS_ALLOWED})
    if not names:
        return ""
    return (
        f"Not a measurement to quote: other work used more than {OTHERS_ALLOWED} core during {', '.join(names)}. "
        "Rates and ratios of such runs are wrong in either direction; run it again on a quiet machine."
    )


def write(name: str, results: Sequence[Result], facts: dict[str, Any]) -> Path:
    """Write results/<name>.md and .json; returns the path of the first."""
    legend = [f"- `{peer.name}`: {peer.what}" for peer in PEERS]
    loops = [str(r.loop_ms) for r in results]
    lines = [
        "# Throughput of one job",
        "",
        *([f"**{disturbed(results)}**", ""] if disturbed(results) else []),
        *markdown(HEADINGS, rows(results)),
        "",
        *legend,
        "",
        *(f"- {what}: {fact}" for what, fact in facts.items()),
        f"- ms of a fixed Python loop (the speed of a core) before each run: {', '.join(loops)}",
        "",
        "## How it is measured",
        "",
        METHOD,
        "",
        "Settings: `benchmarks/peers.py`, `benchmarks/stock_faust.py`, `tests/servers/kafka.py`; `agents/app.py`.",
        "",
    ]
    return save(name, lines, facts, [result.as_dict() for result in results])


def save(name: str, lines: Sequence[str], facts: dict[str, Any], runs: Sequence[dict[str, Any]]) -> Path:
    """Write results/<name>.md of these lines, and .json; returns the path of the first."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(lines))
    (RESULTS / f"{name}.json").write_text(json.dumps({"environment": facts, "runs": runs}, indent=2) + "\n")
    return RESULTS / f"{name}.md"


def markdown(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *cells)]
