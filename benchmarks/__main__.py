"""Measure Syncline and others on servers of their own: python -m benchmarks [what]

throughput  one job on all systems; ends with code 1 if an output is not what a fold of the changes gives
latency     from the send of a change to its golden record and to the view in Redis, at a low and steady rate
fencing     what it costs a batch that a replaced worker's records are refused: epochs beside transactions
growth      what a change costs with more entities, sources, fields and workers
journal     what the change log costs: its stores beside the resolver, and the worker with it and without
recovery    how long Syncline takes from a start to the first change, with its states in memory and in RocksDB
policy_change  entities judged anew under another policy, beside the worker's ordinary rate
sync        golden records on their way to a target: latency, windows beside realtime, entities by name
profile     where Syncline's CPU time goes on the job
plot        tables and pictures of docs/performance.md from the results of throughput and growth

The first seven write benchmarks/results/<what>.md and .json.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from benchmarks import fencing, growth, journal, latency, plot, policy_change, recovery, report, sync, throughput
from benchmarks.job import SEED, Job
from benchmarks.measure import RunFailed
from benchmarks.peers.installed import NotInstalled
from benchmarks.peers.systems import PEERS, Peer
from benchmarks.profiling import profile
from benchmarks.stage import say

WHAT = (
    *("throughput", "latency", "recovery", "fencing", "growth", "journal", "sync", "policy_change"),
    *("profile", "plot"),
)
#: Entities, where the command line does not say: of the job, and in the changelog of a recovery.
ENTITIES, RECOVERED = 50_000, 1_000_000
#: Of these 100,000 and more are changed by the job.
REJUDGED = 160_000


def main() -> int:
    """Returns the exit code."""
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a new topic has no leader yet: it says so at each try
    given = arguments().parse_args()
    given.name = given.name or given.what
    job = Job(given.changes, given.entities or ENTITIES, given.seed)
    try:
        match given.what:
            case "latency":
                return measure_latency(given, job)
            case "recovery":
                return measure_recovery(given)
            case "fencing":
                return measure_fencing(given, job)
            case "policy_change":
                return measure_policy_change(given)
            case "growth":
                return measure_growth(given, job)
            case "journal":
                return measure_journal(given, job)
            case "sync":
                return measure_sync(given)
            case "plot":
                say(f"written: {', '.join(map(str, plot.plot()))}")
                return 0
            case "profile":
                asyncio.run(profile(job))
                return 0
            case _:
                return measure_throughput(given, job)
    except (RunFailed, NotInstalled) as failure:
        print(failure, file=sys.stderr)
        return 1


def measure_throughput(given: argparse.Namespace, job: Job) -> int:
    """Run, show and write; returns the exit code."""
    before = os.getloadavg()
    results = asyncio.run(throughput.throughput(job, given.faust_changes, given.rounds, chosen(given.peers)))
    say(f"written: {throughput.write(given.name, results, report.environment(job, before))}")
    return 0 if all(result.right for result in results) else 1


def measure_latency(given: argparse.Namespace, job: Job) -> int:
    """Run, show and write; returns the exit code: 1 if a change never came out."""
    before = os.getloadavg()
    results = asyncio.run(latency.latency(job, latency.Load(given.rate, given.seconds), given.rounds))
    say(f"written: {latency.write(given.name, results, report.environment(job, before))}")
    return 1 if any(sum(result.missing.values()) for result in results) else 0


def measure_recovery(given: argparse.Namespace) -> int:
    """Run, show and write; returns the exit code."""
    before = os.getloadavg()
    results = asyncio.run(recovery.recovery(given.entities or RECOVERED, given.rounds))
    say(f"written: {recovery.write(given.name, results, report.environment(recovery.FOLDED, before))}")
    return 0


def measure_fencing(given: argparse.Namespace, job: Job) -> int:
    """Run, show and write; returns the exit code."""
    before = os.getloadavg()
    costs = asyncio.run(fencing.fencing(given.rate, given.seconds, given.rounds))
    say(f"written: {fencing.write(given.name, costs, report.environment(job, before))}")
    return 0


def measure_journal(given: argparse.Namespace, job: Job) -> int:
    """Run, show and write; returns the exit code: 1 if an output was not right."""
    before = os.getloadavg()
    costs, runs = asyncio.run(journal.journal(job, given.rounds))
    say(f"written: {journal.write(given.name, costs, runs, report.environment(job, before))}")
    return 0 if all(result.right for result, _ in runs) else 1


def measure_sync(given: argparse.Namespace) -> int:
    """Run, show and write; returns the exit code."""
    before = os.getloadavg()
    figures = asyncio.run(sync.sync(given.rate, given.seconds, given.deliveries))
    say(f"written: {sync.write(given.name, figures, report.environment(Job(given.deliveries), before))}")
    return 0


def measure_growth(given: argparse.Namespace, job: Job) -> int:
    """Run, show and write; returns the exit code."""
    before = os.getloadavg()
    alone = list(growth.costs())
    together = asyncio.run(growth.teams(job))
    say(f"written: {growth.write(given.name, alone, together, report.environment(job, before))}")
    return 0 if all(result.right for _, result in together) else 1


def measure_policy_change(given: argparse.Namespace) -> int:
    """Run, show and write; returns the exit code: 1 if the places differ."""
    before = os.getloadavg()
    job = Job(given.changes, given.entities or REJUDGED, given.seed)
    results = asyncio.run(policy_change.policy_change(job, given.rounds))
    say(f"written: {policy_change.write(given.name, results, report.environment(job, before))}")
    return 0 if all(result.equal for result in results) else 1


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=WHAT, default=WHAT[0])
    parser.add_argument("--changes", type=int, default=400_000, help="changes of the job (default: %(default)s)")
    parser.add_argument("--faust-changes", type=int, default=60_000, help="what stock Faust gets (%(default)s)")
    parser.add_argument(
        "--entities", type=int, help=f"of the job at most so many ({ENTITIES}); recovery: exactly ({RECOVERED})"
    )
    parser.add_argument(
        "--rate", type=int, default=200, help="latency, fencing, sync: changes or batches per second (%(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=30, help="latency, fencing, sync: so long (%(default)s)")
    parser.add_argument("--deliveries", type=int, default=100_000, help="sync: changes of golden records (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each system; every other round backwards")
    parser.add_argument("--seed", type=int, default=SEED, help="of the job's chance (%(default)s)")
    parser.add_argument("--peers", default="all", help=f"with commas between: {', '.join(p.name for p in PEERS)}")
    parser.add_argument("--name", help="of the files in benchmarks/results (default: what is measured)")
    return parser


def chosen(names: str) -> list[Peer]:
    """The systems named on the command line."""
    wanted = [peer.name for peer in PEERS] if names == "all" else names.split(",")
    unknown = set(wanted) - {peer.name for peer in PEERS}
    if unknown:
        sys.exit(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in PEERS)}")
    return [peer for peer in PEERS if peer.name in wanted]


if __name__ == "__main__":
    sys.exit(main())
