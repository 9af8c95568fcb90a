"""What it costs to decode one change, and to encode one golden record, in microseconds of CPU.

    python benchmarks/codec.py            with the modules as they are imported
    python benchmarks/codec.py --compile  and again in a copy of the tree, compiled by mypyc

pyruhvro stands in the table where `pip install pyruhvro pyarrow` has put it; it belongs in a throw-away
environment, since nothing of ours needs it. CPU time of this process, the least of several rounds.
"""

from __future__ import annotations

import argparse
import gc
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMPILED = ("canonical", "wire", "strict_json", "rules", "avro_binary", "fast")
ROUNDS = 25
BATCH = 1_000


def microseconds(rows: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    """The least CPU time per item of each row: its work, and how many items that is.

    Round after round over all rows, so that a slow spell of a shared machine does not fall on one of them.
    """
    best = dict.fromkeys(rows, float("inf"))
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, (work, items) in rows.items():
                repeats = max(1, BATCH // items)
                start = time.process_time()
                for _ in range(repeats):
                    work()
                best[name] = min(best[name], (time.process_time() - start) / repeats / items * 1e6)
    finally:
        gc.enable()
    return best


def examples() -> list[bytes]:
    """A small change, one of the usual size, and one with more fields."""
    from schemas import codec
    from schemas.change import Change

    head = {
        "entity_type": "customer",
        "entity_id": "c-004711",
        "op": "update",
        "source": "crm",
        "version": 12,
    }
    head |= {"occurred_at": 1_790_000_000_000}
    small = {"tier": "gold", "visits": 12, "email": "ana.4711@example.com"}
    address = {"street": "12 Main Street", "zip": "10115", "city": "Springfield"}
    more = small | address | {"balance": 1234.5, "vip": True}
    seen = {"crm": 11, "billing": 4, "web": 2}
    parts: list[dict[str, Any]] = [
        {"fields": small},
        {"fields": small | {"balance": 1.5}, "seen": seen},
        {"fields": more, "seen": seen, "before": {"tier": "silver", "visits": 11}},
    ]
    return [
        codec.encode_change(Change(**head, event_id=f"customer:c-004711@crm@{i}", **p)) for i, p in enumerate(parts)
    ]


def golden_record() -> bytes:
    """One golden record of three fields, as the engine encodes it."""
    from schemas import fast

    bodies = [fast.encode_provenance("crm", 12, 1_790_000_000_000, "customer:c-004711@crm@12")]
    fields = [("email", '"ana.4711@example.com"'), ("tier", '"gold"'), ("visits", "12")]
    provenance = [(name, bodies) for name, _ in fields]
    clock = {"crm": 12, "billing": 4}
    return fast.encode_golden_record(
        "customer", "c-004711", fields, provenance, clock, ["tier"], [], "p1", "syncline.changes", 3, 4711
    )


def arrow_rows(data: bytes) -> dict[str, tuple[Callable[[], Any], int]]:
    """pyruhvro in batches: to Arrow, and on to Python values; nothing where it is not installed."""
    try:
        from pyruhvro import deserialize_array
    except ImportError:
        return {}
    bodies = [data[5:]] * BATCH
    schema = (ROOT / "schemas" / "change.avsc").read_text()
    return {
        f"pyruhvro, {BATCH} at a time, to Arrow": (lambda: deserialize_array(bodies, schema), BATCH),
        f"pyruhvro, {BATCH} at a time, to Python lists": (
            lambda: deserialize_array(bodies, schema).to_pylist(),
            BATCH,
        ),
    }


def change_rows(data: bytes) -> dict[str, tuple[Callable[[], Any], int]]:
    """Every way to decode one change."""
    import fastavro

    from schemas import codec, fast
    from schemas.released import newest

    schema = newest("Change").schema

    def by_fastavro() -> Any:
        body = io.BytesIO(data)
        body.seek(5)
        return fastavro.schemaless_reader(body, schema)

    assert codec.decode_change(data) == fast.decode_change(data)
    return {
        "fastavro, Python values, nothing checked": (by_fastavro, 1),
        "codec.decode_change (walk, fastavro, texts, rules)": (lambda: codec.decode_change(data), 1),
        "fast.read_change (texts, well-formed)": (lambda: fast.read_change(data, 32), 1),
        "fast.decode_change (and rules and limits)": (lambda: fast.decode_change(data), 1),
    } | arrow_rows(data)


def report() -> None:
    """Print the table for the modules as they are imported."""
    from schemas import fast
    from schemas.canonical import canonical

    how = "interpreted" if fast.__file__.endswith(".py") else "compiled by mypyc"
    print(f"us of CPU, least of {ROUNDS} rounds; schemas/ {how}; Python {sys.version.split()[0]}")
    for data in examples():
        print(f"  a change of {len(data)} bytes")
        for name, figure in microseconds(change_rows(data)).items():
            print(f"    {figure:8.2f}  {name}")
    rows: dict[str, tuple[Callable[[], Any], int]] = {"golden_record, 3 fields": (golden_record, 1)}
    for value in ("ana.4711@example.com", 12, 1.5, None):
        rows[f"canonical({type(value).__name__})"] = (lambda v=value: canonical(v), 1)
    print("  others")
    for name, figure in microseconds(rows).items():
        print(f"    {figure:8.2f}  {name}")


def compiled_report() -> None:
    """Print the table once more from a copy of the tree in which the hot modules are compiled."""
    with tempfile.TemporaryDirectory() as place:
        for part in ("schemas", "benchmarks"):
            shutil.copytree(ROOT / part, Path(place) / part)
        files = [f"schemas/{name}.py" for name in COMPILED]
        mypyc = [sys.executable, "-c", "from mypyc.__main__ import main; main()", *files]
        build = subprocess.run(mypyc, cwd=place, capture_output=True, text=True, check=False)
        if build.returncode:
            sys.exit(f"mypyc failed, so there are no compiled figures:\n{build.stdout}{build.stderr}")
        subprocess.run([sys.executable, "benchmarks/codec.py"], cwd=place, check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--compile", action="store_true", help="also in a copy compiled by mypyc")
    chosen = arguments.parse_args()
    report()
    if chosen.compile:
        compiled_report()
