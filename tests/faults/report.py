"""One row for each fault: what was injected, what became of it, and what plain Faust makes of the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.faults.plain_run import PlainOutcome
from tests.faults.verdict import Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = (
    "| id | fault | runs | changes | lost | unexplained | places agree | sent again | stale sent / kept "
    "| recovery p50 / max s | plain Faust |"
)
PROSE = f"""# Reliability

What this page states was measured by `tests/faults`, against Apache Kafka, Redis and two workers as processes of
their own. `SYNCLINE_WRITE_REPORT=1 make faults` writes the table anew; every run prints it.

A run publishes seeded changes of three sources at a steady rate: about 30 % conflict, some are deletes, duplicates,
or bad records that belong in dead letters. Faults are injected meanwhile. Then

- the table's changelog (as the workers recover it, and folded alone), `records`, the Redis view and a fresh replay
  must have one digest;
- golden records, and the conflicts of a sample of entities, must be those of `tests/oracle.py`, which shares no code
  with the engine;
- every offset of `changes` must be applied, superseded by its own source, a duplicate, or quarantined. *Lost* are those
  that are none of these, *unexplained* are effects that no offset accounts for;
- the committed offsets must be the log ends, and no key of the changelog may end in a state older than one before.

*Sent again* are golden records that a replay repeated; *stale* are states older than one before of their key.
*Recovery* is the time from a fault until all that was in the log at that moment is resolved and committed, so it
contains the group's session of 3 to 6 s. *Plain Faust* is an agent with a table and a sink topic at default settings
(its session alone made as short) under the same kind of load and fault; lost are changes whose offset is committed
and whose effect is missing in its table or its sink.

{BEGIN}
{END}

What needs no steady load has tests without a row; they end with the same comparisons of places, or with the named
alarm, refusal or end of the worker:

| id | what | tests |
|---|---|---|
| F07 | the watchdog's limits, one by one | [test_watchdog.py](../tests/agents/test_watchdog.py), \
[test_blocked.py](../tests/faults/test_blocked.py) |
| F12 | Kafka cut off or silent in a recovery, both stores | \
[test_recovery_cut.py](../tests/faults/test_recovery_cut.py) |
| F24 to F26 | changelog lost, input deleted before it was read, offsets ahead of the table | \
[test_offsets.py](../tests/faults/test_offsets.py) |
| F27 | topics altered, before the start and under running workers | \
[test_topics_changed.py](../tests/faults/test_topics_changed.py) |
| F28 | holes of millions of offsets | [test_gap.py](../tests/faults/test_gap.py) |
| B01 to B03 | any bytes, JSON and Avro made to be dear | [test_any_bytes.py](../tests/laws/test_any_bytes.py), \
[test_bombs.py](../tests/laws/test_bombs.py) |
| B04, B09 | compressed bombs, hostile headers and pickles | \
[test_hostile_batches.py](../tests/integration/test_hostile_batches.py) |
| B05 | times that are wrong by years | [test_poison_times.py](../tests/laws/test_poison_times.py) |
| B06 | the whole topic once more, in another order | [test_redelivery.py](../tests/integration/test_redelivery.py) |
| B08 | nine tenths of a load on one entity | [test_hot_key.py](../tests/integration/test_hot_key.py) |
| U01 | what Faust and aiokafka do today that is worked around here | [tests/upstream](../tests/upstream) |
| | crashes, zombies, late sends and compaction in a seeded simulator, 10,000 crashes a run | \
[tests/simulation](../tests/simulation) |

Not tested: loss of power, disks that lie about what they have written, leader elections among several brokers, clocks
of real hardware, and networks between sites.
"""


NOT_RUN = "not run"


@dataclass(slots=True)
class Row:
    """What is known of one fault."""

    what: str
    outcomes: list[Outcome] = field(default_factory=list)
    plain: str = NOT_RUN


class Report:
    """The rows of this session by fault id."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(self, fault: str, what: str, outcome: Outcome, label: str = "") -> None:
        """Add a run of a fault, and print its seed and figures."""
        print(f"\n{fault} {label} {outcome}")
        self.rows.setdefault(fault, Row(what)).outcomes.append(outcome)

    def add_plain(self, fault: str, what: str, outcome: PlainOutcome) -> None:
        """Add what the same fault does to plain Faust."""
        words = f"{outcome.lost:,} of {outcome.committed:,} lost, {outcome.doubled:,} counted twice"
        words += f", {outcome.unread:,} not read" if outcome.unread else ""
        print(f"\n{fault} plain Faust: {words}")
        self.rows.setdefault(fault, Row(what)).plain = words

    def join(self, other: Report) -> None:
        """Take in what another process found."""
        for fault, row in other.rows.items():
            own = self.rows.setdefault(fault, Row(row.what))
            own.outcomes += row.outcomes
            own.plain = row.plain if own.plain == NOT_RUN else own.plain

    def table(self) -> str:
        """The rows as Markdown, by fault id."""
        columns = HEAD.count("|") - 1
        lines = [HEAD, "|" + "---|" * columns]
        lines += [line_of(fault, self.rows[fault]) for fault in sorted(self.rows) if self.rows[fault].outcomes]
        return "\n".join(lines)

    def write(self, page: Path = PAGE) -> None:
        """Put the table between the page's markers; the prose around it stays as it is."""
        text = page.read_text() if page.exists() else PROSE
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{self.table()}\n{END}{after}")


def line_of(fault: str, row: Row) -> str:
    """One line of the table."""
    runs = row.outcomes
    seconds = [one for run in runs for one in run.recoveries]
    recovery = f"{median(seconds):.1f} / {max(seconds):.1f}" if seconds else "none measured"
    agree = sum(run.digests_equal for run in runs)
    cells = [
        fault,
        row.what,
        str(len(runs)),
        f"{sum(run.changes for run in runs):,}",
        str(sum(run.lost for run in runs)),
        str(sum(run.unexplained for run in runs)),
        "all" if agree == len(runs) else f"{agree} of {len(runs)}",
        f"{sum(run.replayed for run in runs):,}",
        f"{sum(run.stale for run in runs)} / {sum(run.stale_surviving for run in runs)}",
        recovery,
        row.plain,
    ]
    return "| " + " | ".join(cells) + " |"
