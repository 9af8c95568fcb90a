"""The conflicts of two public data sets about the same airports: the engine's count beside an independent one.

`airportsdata` and `airports-py` (PyPI, both MIT) each list the world's airports by IATA code. Each becomes a source,
publishes a snapshot of what it holds, and the engine says in which fields they are in conflict. The other count is a
comparison of two dicts of Python values. Nothing of the data is kept here: the packages are downloaded.

    python -m benchmarks.public_airports [DIRECTORY WITH BOTH WHEELS]
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from schemas.change import Change
from schemas.codec import decode_conflict, encode_change
from streams.fold import Replay
from streams.policy import parse_policy
from streams.rehearsal import Arrival

PACKAGES = {"airportsdata": "20260905", "airports-py": "3.1.0"}
FIELDS = ("icao", "name", "country", "elevation_ft", "timezone", "latitude", "longitude")
BATCH = 1_000

Airports = dict[str, dict[str, Any]]


def download(directory: Path) -> None:
    """Gets both wheels with pip."""
    names = [f"{name}=={version}" for name, version in PACKAGES.items()]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(directory), *names], check=True
    )


def one_wheel(directory: Path, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(directory.glob(f"{name}-{PACKAGES[name.replace('_', '-')]}-*.whl")))


def read_airportsdata(directory: Path) -> Airports:
    """By IATA code; positions to two digits, about a kilometre."""
    text = one_wheel(directory, "airportsdata").read("airportsdata/airports.csv").decode()
    return {
        row["iata"]: {
            "icao": row["icao"],
            "name": row["name"],
            "country": row["country"],
            "elevation_ft": int(float(row["elevation"])),
            "timezone": row["tz"],
            "latitude": round(float(row["lat"]), 2),
            "longitude": round(float(row["lon"]), 2),
        }
        for row in csv.DictReader(io.StringIO(text))
        if row["iata"]
    }


def read_airports_py(directory: Path) -> Airports:
    """The same of the other package; what it leaves empty is not said."""
    rows = json.loads(gzip.decompress(one_wheel(directory, "airports_py").read("airports/data/airports.gz")))
    found = {}
    for row in rows:
        said = {"icao": row["icao"], "name": row["airport"], "country": row["country_code"], "timezone": row["time"]}
        airport = {name: value for name, value in said.items() if value}
        if row["elevation_ft"] not in ("", None):
            airport["elevation_ft"] = int(float(row["elevation_ft"]))
        airport["latitude"], airport["longitude"] = round(float(row["latitude"]), 2), round(float(row["longitude"]), 2)
        if row["iata"]:
            found[row["iata"]] = airport
    return found


def counted_plainly(one: Airports, other: Airports) -> Counter[str]:
    """Fields that both have with different values, by field: dicts compared, nothing of the engine."""
    return Counter(
        name
        for code in one.keys() & other.keys()
        for name in FIELDS
        if name in one[code] and name in other[code] and one[code][name] != other[code][name]
    )


def counted_by_engine(sources: dict[str, Airports]) -> tuple[int, Counter[str], int]:
    """Golden records, conflict ids by field, and fields that golden records say are contested."""
    replay = Replay(parse_policy({"priority": list(sources), "resolver": "source_priority"}), "changes")
    changes = [
        Change(
            event_id=f"{source}-{code}",
            entity_type="airport",
            entity_id=code,
            op="snapshot",
            source=source,
            version=1,
            occurred_at=0,
            seen=None,
            before=None,
            fields=airport,
        )
        for source, airports in sources.items()
        for code, airport in airports.items()
    ]
    ids: dict[str, str] = {}
    for begin in range(0, len(changes), BATCH):
        part = changes[begin : begin + BATCH]
        log = [Arrival(begin + n, 0, one.key.encode(), encode_change(one)) for n, one in enumerate(part)]
        for _, body in replay.feed(0, log).conflicts:
            conflict = decode_conflict(body)
            ids[conflict.conflict_id] = conflict.field
    contested = sum(len(json.loads(row.contested)) for row in replay.rows.values())
    return len(replay.rows), Counter(ids.values()), contested


def report(directory: Path) -> list[str]:
    """The table, as Markdown."""
    one, other = read_airportsdata(directory), read_airports_py(directory)
    plain = counted_plainly(one, other)
    entities, ours, contested = counted_by_engine({"airportsdata": one, "airports-py": other})
    lines = ["| | counted plainly | Syncline |", "|---|---:|---:|"]
    lines.append(f"| airports of airportsdata / airports-py | {len(one):,} / {len(other):,} | |")
    lines.append(f"| airports in both | {len(one.keys() & other.keys()):,} | |")
    lines.append(f"| entities | {len(one.keys() | other.keys()):,} | {entities:,} |")
    lines += [f"| conflicts in `{name}` | {plain[name]:,} | {ours[name]:,} |" for name in FIELDS]
    lines.append(f"| conflicts | {sum(plain.values()):,} | {sum(ours.values()):,} |")
    lines.append(f"| contested fields of golden records | {sum(plain.values()):,} | {contested:,} |")
    return lines


def main() -> int:
    """Exit code 1 if the counts differ."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        if len(sys.argv) < 2:
            download(directory)
        lines = report(directory)
    print("\n".join(lines))
    differing = [line for line in lines[4:] if len({cell.strip() for cell in line.split("|")[2:4]}) > 1]
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
