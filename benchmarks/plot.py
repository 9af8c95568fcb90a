"""`python -m benchmarks plot`: tables and pictures of docs/performance.md from what throughput and growth wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import growth, report, throughput
from benchmarks.kernel import Cost
from benchmarks.measure import Result
from benchmarks.svg import Bar, Panel, chart

DOCS: Final = report.ROOT / "docs"
PAGE: Final = DOCS / "performance.md"

#: Names in the pictures, and which of them writes Redis, in the order of drawing.
WITH_REDIS: Final = {
    "syncline-processes": "Syncline, 2 processes",
    "syncline": "Syncline, 1 process",
    "aiokafka_loop_redis": "aiokafka, by hand",
    "kafka_streams_redis": "Kafka Streams",
    "quix_redis": "Quix Streams",
    "stock_faust_redis": "stock Faust",
}
WITHOUT_REDIS: Final = {
    "syncline-processes-without-view": "Syncline, 2 processes",
    "syncline-without-view": "Syncline, 1 process",
    "aiokafka_loop": "aiokafka, by hand",
    "kafka_streams": "Kafka Streams",
    "quix": "Quix Streams",
    "stock_faust": "stock Faust",
}
HEADINGS: Final = (
    "system",
    "changes/s",
    "to the last commit",
    "CPU s/million",
    "peak RSS MiB",
    "outputs",
)
GROWTH_HEADINGS: Final = ("grows", "to", "us of CPU a change", "of the first", "bytes of a state")
WORKERS_HEADINGS: Final = ("workers", "changes/s", "of one", "CPU s/million", "outputs right")


def plot() -> list[Path]:
    """Write the pictures and the page's tables; returns the paths."""
    written = []
    for path, content in contents().items():
        path.write_text(content)
        written.append(path)
    return written


def contents() -> dict[Path, str]:
    """What the files must be, by the results as they are."""
    measured, grown = report.load("throughput"), report.load("growth")
    results = [Result.read(run) for run in measured["runs"]]
    alone, together = growth.read(grown["runs"])
    page = PAGE.read_text()
    page = filled(page, "throughput", [*throughput_lines(results), *sources(measured["environment"])])
    page = filled(page, "growth", [*growth_lines(alone, together), *sources(grown["environment"])])
    return {
        PAGE: page,
        DOCS / "performance.svg": rates(results),
        DOCS / "growth.svg": growths(alone, together),
    }


def filled(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with these lines between the comments that bear the name. Raises ValueError without them."""
    begin, end = f"<!-- {name}: python -m benchmarks plot -->", f"<!-- end of {name} -->"
    block = "\n".join([begin, "", *lines, "", end])
    page, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{count} places for {name} in {PAGE}")
    return page


def sources(environment: Mapping[str, Any]) -> list[str]:
    """Where figures come from, below their table."""
    return ["", f"`{environment['command']}`, {environment['date']}, {environment['machine']}."]


def throughput_lines(results: Sequence[Result]) -> list[str]:
    """The tables of throughput, and the warning where there is one."""
    cells = [
        [
            f"`{name}`",
            f"{throughput.rate(runs):,.0f}",
            f"{throughput.committed(runs):,.0f}",
            f"{throughput.cpu(runs):.1f}",
            f"{max(run.peak_rss_mib for run in runs):.0f}",
            throughput.verdict(runs),
        ]
        for name, runs in throughput.by_peer(results).items()
    ]
    warning = throughput.disturbed(results)
    return [
        *([f"**{warning}**", ""] if warning else []),
        *report.markdown(HEADINGS, cells),
        "",
        *report.markdown(throughput.RATIO_HEADINGS, throughput.ratios(results)),
    ]


def growth_lines(alone: Sequence[tuple[str, Cost]], together: Sequence[tuple[int, Result]]) -> list[str]:
    """The tables of growth, with fewer columns than in the results."""
    cells = [
        [grows, f"{getattr(cost.shape, grows):,}", f"{cost.us:.1f}", row[7], f"{cost.state_bytes:,.0f}"]
        for (grows, cost), row in zip(alone, growth.cost_rows(alone), strict=True)
    ]
    teams = [[row[0], row[2], row[3], row[4], row[-1]] for row in growth.team_rows(together)]
    return [*report.markdown(GROWTH_HEADINGS, cells), "", *report.markdown(WORKERS_HEADINGS, teams)]


def rates(results: Sequence[Result]) -> str:
    """The picture of throughput."""
    rate = {peer: throughput.rate(runs) for peer, runs in throughput.by_peer(results).items()}
    panels = [
        Panel(
            title,
            [
                Bar(name, rate[peer], f"{rate[peer]:,.0f}", ours=name.startswith("Syncline"))
                for peer, name in names.items()
                if peer in rate
            ],
            full=max(rate.values()),
        )
        for title, names in (
            ("Changes a second, with Redis", WITH_REDIS),
            ("Changes a second, without Redis", WITHOUT_REDIS),
        )
    ]
    return chart("The same job on each system, one command each", panels)


def growths(alone: Sequence[tuple[str, Cost]], together: Sequence[tuple[int, Result]]) -> str:
    """The picture of growth."""
    panels = [
        Panel(
            f"µs of CPU a change, by number of {grows}",
            [
                Bar(f"{getattr(cost.shape, grows):,}", cost.us, f"{cost.us:.1f}", ours=True)
                for name, cost in alone
                if name == grows
            ],
        )
        for grows in growth.SIZES
    ]
    bars = [Bar(str(workers), run.steady.rate, f"{run.steady.rate:,.0f}", ours=True) for workers, run in together]
    return chart(
        "What a change costs as one thing grows", [*panels, Panel("Changes a second, by number of workers", bars)]
    )
