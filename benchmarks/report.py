"""The figures as a table, as Markdown and as JSON, with what is needed to judge and repeat them."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.job import Job
from tests.servers.kafka import LONG_RUN, jars

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("faust-streaming", "mode-streaming", "aiokafka", "redis", "hiredis", "orjson", "fastavro")
#: Cores that other work may use before the rates of a run say nothing (of each other, least of all).
OTHERS_ALLOWED = 0.1


def disturbed(others: Iterable[tuple[str, float]]) -> str:
    """A warning when something else used the machine; others: what was measured, and cores that other work used."""
    names = sorted({name for name, cores in others if cores > OTHERS_ALLOWED})
    if not names:
        return ""
    return (
        f"Not a measurement to quote: other work used more than {OTHERS_ALLOWED} core during {', '.join(names)}. "
        "Rates and ratios of such runs are wrong in either direction; run it again on a quiet machine."
    )


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


def show_table(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a table whose first and last columns may hold words."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        words = number in (0, len(headings) - 1)
        table.add_column(heading, justify="left" if words else "right", no_wrap=words and number == 0)
    for line in cells:
        table.add_row(*line)
    Console(width=200).print(table)


def save(name: str, lines: Sequence[str], facts: dict[str, Any], runs: Sequence[dict[str, Any]]) -> Path:
    """Write results/<name>.md of these lines, and .json; returns the path of the first."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text("\n".join(lines))
    (RESULTS / f"{name}.json").write_text(json.dumps({"environment": facts, "runs": runs}, indent=2) + "\n")
    return RESULTS / f"{name}.md"


def load(name: str) -> dict[str, Any]:
    """What `save` wrote: `environment` and `runs`."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def markdown(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *cells)]
