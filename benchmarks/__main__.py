"""Measure Syncline and stock Faust on one job, on servers of their own: python -m benchmarks [profile].

Writes benchmarks/results/throughput.md and .json; ends with code 1 if any output is not what a fold of the same
changes gives. `profile` runs Syncline alone and prints where its CPU time goes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from benchmarks import report
from benchmarks.job import SEED, Job
from benchmarks.measure import Result, RunFailed
from benchmarks.peers import PEERS, Peer
from benchmarks.profiling import profile
from benchmarks.stage import Stage, say, stage


def main() -> int:
    """Returns the exit code."""
    given = arguments().parse_args()
    job = Job(given.changes, given.entities, given.seed)
    try:
        if given.what == "profile":
            asyncio.run(profile(job))
            return 0
        load = os.getloadavg()
        results = asyncio.run(throughput(job, given.faust_changes, given.rounds, chosen(given.peers)))
    except RunFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    report.show(results)
    say(f"written: {report.write(given.name, results, report.environment(job, load))}")
    return 0 if all(result.right for result in results) else 1


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("throughput", "profile"), default="throughput")
    parser.add_argument("--changes", type=int, default=200_000, help="changes of the job (default: %(default)s)")
    parser.add_argument("--faust-changes", type=int, default=60_000, help="what stock Faust gets (%(default)s)")
    parser.add_argument("--entities", type=int, default=50_000, help="at most so many entities (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each system; every other round backwards")
    parser.add_argument("--seed", type=int, default=SEED, help="of the job's chance (%(default)s)")
    parser.add_argument("--peers", default="all", help=f"with commas between: {', '.join(p.name for p in PEERS)}")
    parser.add_argument("--name", default="throughput", help="of the files in benchmarks/results (%(default)s)")
    return parser


def chosen(names: str) -> list[Peer]:
    """The systems named on the command line."""
    wanted = [peer.name for peer in PEERS] if names == "all" else names.split(",")
    unknown = set(wanted) - {peer.name for peer in PEERS}
    if unknown:
        sys.exit(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in PEERS)}")
    return [peer for peer in PEERS if peer.name in wanted]


async def throughput(job: Job, stock_changes: int, rounds: int, peers: Sequence[Peer]) -> list[Result]:
    """The results of all runs."""
    results = []
    async with stage(job, stock_changes) as here:
        for number in range(rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                results.append(await one(here, peer))
    return results


async def one(here: Stage, peer: Peer) -> Result:
    """One run, with a line about it."""
    result = await here.run(peer)
    right = "outputs right" if result.right else f"OUTPUTS DIFFER: {result.checks}"
    say(f"{peer.name}: {result.output_rate:,.0f} changes/s, until done {result.done_rate:,.0f}; {right}")
    return result


if __name__ == "__main__":
    sys.exit(main())
