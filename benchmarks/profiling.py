"""`python -m benchmarks profile`: Syncline's worker on the job, sampled, and its CPU time by part."""

from __future__ import annotations

import json

from benchmarks import report
from benchmarks.job import Job
from benchmarks.peers.systems import SYNCLINE
from benchmarks.stage import say, stage


async def profile(job: Job) -> None:
    """Run the worker with everything on and print microseconds of CPU for each change, by part."""
    async with stage(job, 0) as here:
        file = here.directory / "samples.json"
        result = await here.run(SYNCLINE, file)
        samples = json.loads(file.read_text())
    compiled = report.compiled()
    say(f"{result.steady.rate:,.0f} changes/s while sampled; {len(compiled)} modules compiled")
    print("us of CPU for each change, from when all is imported to the end of the process")
    for thread, seconds in samples.items():
        total = sum(seconds.values())
        print(f"  {thread}: {total / job.changes * 1e6:.2f}")
        for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"    {spent / job.changes * 1e6:8.2f}  {spent / total:6.1%}  {part}")
