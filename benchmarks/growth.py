"""`python -m benchmarks growth`: what a change costs Syncline while one thing grows and the rest stays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import kernel, report
from benchmarks.job import Job
from benchmarks.kernel import Cost, Shape
from benchmarks.measure import Result
from benchmarks.peers.systems import SYNCLINE
from benchmarks.stage import say, stage

BASE: Final = Shape()
SIZES: Final = {
    "entities": (10_000, 100_000, 1_000_000),
    "sources": (1, 4, 16, 64),
    "fields": (2, 10, 50),
}
WORKERS: Final = (1, 2, 3)
#: Each of 1, 2 and 3 workers gets as many.
PARTITIONS: Final = 6

HEADINGS: Final = (
    "grows",
    "entities",
    "sources",
    "fields",
    "us of CPU a change",
    "least",
    "most",
    "of the first",
    "bytes of a state",
    "stored",
    "held",
    "golden records a change",
)
WORKERS_HEADINGS: Final = (
    "workers",
    "changes",
    "changes/s",
    "of one",
    "CPU s/million",
    "broker",
    "peak RSS MiB",
    "other cores",
    "stolen",
    "right",
)
METHOD: Final = f"""\
- Entities, sources, fields: the engine alone (`resolve_batch`: Avro in, all its outputs encoded, nothing sent), each
  row in a process of its own. Every source has written every field of every entity before, and as many entities were
  touched as the engine's cache holds. Then each change writes {kernel.WRITTEN_FIELDS} fields of an entity drawn evenly:
  {kernel.MEASURED_BATCHES} batches of {kernel.BATCH_RECORDS:,}; the table has the median of them, the least and
  the most.
- Where one thing grows, the others are {BASE.entities:,} entities, {BASE.sources} sources and {BASE.fields} fields.
- `of the first`: times the CPU of the first row of what grows.
- Bytes for each entity. `bytes of a state`: encoded, as in the changelog. `stored`: with its key in memory, as objects
  of Python. `held`: what it takes besides while the engine keeps it decoded, as it does with those touched lately;
  by the resident memory of the process.
- `golden records a change`: a batch has one for each entity in it, so with more entities there is more to write.
- Workers: the job of `throughput` on {PARTITIONS} partitions, Redis view and all. The workers are there first, then
  come the changes. Rates and CPU are those of `throughput`; CPU and memory are those of all workers together."""


def costs() -> Iterator[tuple[str, Cost]]:
    """The cost of each shape, with what grows; the base is measured once."""
    known: dict[Shape, Cost] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, max_tasks_per_child=1) as alone:
        for grows, sizes in SIZES.items():
            for shape in (replace(BASE, **{grows: size}) for size in sizes):
                if shape not in known:
                    say(f"{shape.entities:,} entities, {shape.sources} sources, {shape.fields} fields")
                    known[shape] = alone.submit(kernel.measure, shape).result()
                    say(f"  {known[shape].us:.1f} us a change, {known[shape].state_bytes:,} bytes a state")
                yield grows, known[shape]


async def teams(job: Job) -> list[tuple[int, Result]]:
    """The same job done by one worker and by more."""
    results = []
    async with stage(job, 0, PARTITIONS) as here:
        for workers in WORKERS:
            result = await here.run(SYNCLINE, workers=workers)
            results.append((workers, result))
            say(f"{workers} workers: {result.steady.rate:,.0f} changes/s")
    return results


def cost_rows(runs: Sequence[tuple[str, Cost]]) -> list[list[str]]:
    """Rows of the first table."""
    first: dict[str, Cost] = {}
    return [
        [
            grows,
            *(f"{size:,}" for size in (cost.shape.entities, cost.shape.sources, cost.shape.fields)),
            *(f"{us:.1f}" for us in (cost.us, cost.us_least, cost.us_most)),
            f"{cost.us / first.setdefault(grows, cost).us:.2f}",
            *(f"{size:,.0f}" for size in (cost.state_bytes, cost.stored_bytes, cost.held_bytes)),
            f"{cost.records:.2f}",
        ]
        for grows, cost in runs
    ]


def team_rows(runs: Sequence[tuple[int, Result]]) -> list[list[str]]:
    """Rows of the second table."""
    alone = runs[0][1].steady.rate
    return [
        [
            str(workers),
            f"{result.changes:,}",
            f"{result.steady.rate:,.0f}",
            f"{result.steady.rate / alone:.2f}",
            *(f"{result.cpu_seconds_per_million[part]:.1f}" for part in ("peer", "broker")),
            f"{result.peak_rss_mib:.0f}",
            f"{result.other_cores:.2f}",
            f"{result.stolen_cores:.2f}",
            "yes" if result.right else "NO",
        ]
        for workers, result in runs
    ]


def write(
    name: str, alone: Sequence[tuple[str, Cost]], together: Sequence[tuple[int, Result]], facts: dict[str, Any]
) -> Path:
    """Print the tables and write results/<name>.md and .json; returns the path of the first."""
    report.show_table("The engine alone", HEADINGS, cost_rows(alone))
    report.show_table("Workers", WORKERS_HEADINGS, team_rows(together))
    warning = report.disturbed((f"{workers} workers", r.other_cores + r.stolen_cores) for workers, r in together)
    print(warning)
    lines = [
        "# How cost grows",
        "",
        *([f"**{warning}**", ""] if warning else []),
        *report.markdown(HEADINGS, cost_rows(alone)),
        "",
        *report.markdown(WORKERS_HEADINGS, team_rows(together)),
        "",
        *(f"- {what}: {fact}" for what, fact in facts.items()),
        "",
        "## How it is measured",
        "",
        METHOD,
        "",
    ]
    runs: list[dict[str, Any]] = [{"grows": grows, **asdict(cost)} for grows, cost in alone]
    runs += [{"grows": "workers", "workers": workers, **result.as_dict()} for workers, result in together]
    return report.save(name, lines, facts, runs)


def read(runs: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, Cost]], list[tuple[int, Result]]]:
    """The runs of results/growth.json."""
    alone: list[tuple[str, Cost]] = []
    together: list[tuple[int, Result]] = []
    for run in runs:
        figures = {name: value for name, value in run.items() if name not in ("grows", "workers")}
        if run["grows"] == "workers":
            together.append((run["workers"], Result.read(figures)))
        else:
            alone.append((run["grows"], Cost(**{**figures, "shape": Shape(**figures["shape"])})))
    return alone, together
