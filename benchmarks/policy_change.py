"""`python -m benchmarks policy_change`: another policy for a worker that runs, over all entities of the job.

One worker resolves the job's changes as fast as it can, which gives its ordinary rate: that of all changes that are
left when the last one is published. Then it is told another policy
for most fields, and has nothing else to do. In the end the table, `records`, the view and a fresh replay of all changes
under that policy are compared.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from agents.settings import Settings
from benchmarks import report
from benchmarks.job import ENTITY_TYPE, POLICY, Job
from benchmarks.measure import LIMIT_SECONDS, RunFailed, last_lines, start, stop
from benchmarks.peers.systems import SYNCLINE
from benchmarks.stage import Stage, say, stage
from streams.policy import parse_policy
from syncline.places import digest
from syncline.policies import apply, progress
from syncline.waiting import wait_until_visible

PLACES: Final = ("table", "records", "view", "replay")
LOOK_SECONDS: Final = 0.1
HEADINGS: Final = ("entities", "changes/s", "judged anew/s", "ratio", "in the view after s", "one digest")


@dataclass(frozen=True, slots=True)
class Change:
    """One run. entities: records sent anew. rate: changes a second, ordinarily. seconds: from the word to the last one.

    view_seconds: until the view has them, too. equal: all places have one digest.
    """

    entities: int
    rate: float
    seconds: float
    view_seconds: float
    equal: bool

    @property
    def reresolved(self) -> float:
        """Entities a second."""
        return self.entities / self.seconds


def another() -> dict[str, Any]:
    """The job's policy with other rules for what most fields have."""
    policy = copy.deepcopy(POLICY)
    policy["resolver"] = "source_priority"
    policy["entities"] = {**policy.get("entities", {}), ENTITY_TYPE: {"resolver": "source_priority"}}
    return policy


async def policy_change(job: Job, rounds: int) -> list[Change]:
    """All runs."""
    results = []
    async with stage(job, 0) as here:
        for _ in range(rounds):
            results.append(await one(here))
            say(f"{results[-1].reresolved:,.0f} entities/s beside {results[-1].rate:,.0f} changes/s")
    return results


async def one(here: Stage) -> Change:
    """One run, on topics of its own."""
    place = await here.place(SYNCLINE)
    settings = Settings(
        kafka=here.kafka.address, redis=place.redis, topic_prefix=place.prefix, app_id=place.name, web_port=0
    )
    rows, changes, policy = here.rows(stock=False), place.names.changes, parse_policy(another())
    log = here.directory / f"{place.name}.log"
    process = start(SYNCLINE, place, log)

    async def until(holds: Callable[[], Awaitable[bool]]) -> float:
        begun = time.monotonic()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await holds():
                if process.poll() is not None:
                    raise RunFailed(f"the worker ended: {last_lines(log)}")
                await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - begun

    async def settled() -> bool:
        return all(row.done for row in await progress(settings))

    async def resolved() -> bool:
        return await here.cluster.committed(place.name, changes) >= len(rows)

    async def judged() -> bool:
        return all(row.done and row.version == policy.version for row in await progress(settings))

    try:
        await until(settled)
        await here.cluster.produce(changes, rows)
        before = await here.cluster.committed(place.name, changes)
        rate = (len(rows) - before) / await until(resolved)
        await wait_until_visible(settings, LIMIT_SECONDS)
        ends = await here.cluster.ends(place.names.records)
        begun, begun_ms = time.monotonic(), time.time() * 1000
        await apply(settings, policy)
        await until(judged)
        await wait_until_visible(settings, LIMIT_SECONDS)
        view_seconds = time.monotonic() - begun
        anew = [
            record.timestamp
            for number, records in (await here.cluster.read(place.names.records)).items()
            for record in records
            if record.offset >= ends[number]
        ]
        found = [await digest(where, settings, policy) for where in PLACES]
    finally:
        stop(process)
    seconds = (max(anew) - begun_ms) / 1000
    return Change(len(anew), rate, seconds, view_seconds, len({(one.count, one.sha256) for one in found}) == 1)


def write(name: str, results: list[Change], facts: dict[str, Any]) -> Path:
    """Print the table and write results/<name>.md and .json; returns the path of the first."""
    title = "Another policy for a worker that runs"
    cells = [
        [
            f"{one.entities:,}",
            f"{one.rate:,.0f}",
            f"{one.reresolved:,.0f}",
            f"{one.reresolved / one.rate:.2f}",
            f"{one.view_seconds:.1f}",
            "yes" if one.equal else "no",
        ]
        for one in results
    ]
    report.show_table(title, HEADINGS, cells)
    method = (__doc__ or "").partition("\n\n")[2]
    lines = [f"# {title}", "", *report.markdown(HEADINGS, cells), "", method]
    lines += [f"- {what}: {fact}" for what, fact in facts.items()]
    return report.save(name, [*lines, ""], facts, [asdict(one) for one in results])
