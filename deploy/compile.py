"""Compile the inner loop in place with mypyc, or say in one line why everything runs interpreted.

The sources stay the truth: an extension module beside `x.py` is the same code, only faster, and the tests
run on whichever is there. Run by `make compile`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Pure, typed modules only, and those that the hot path spends its time in.
MODULES: tuple[str, ...] = (
    "schemas/canonical.py",
    "schemas/wire.py",
    "schemas/strict_json.py",
    "schemas/rules.py",
    "schemas/value_types.py",
    "schemas/avro_binary.py",
    "schemas/avro_scan.py",
    "schemas/fast.py",
    "streams/causality.py",
    "streams/conflict_budget.py",
    "streams/entity.py",
    "streams/stewardship.py",
    "streams/order.py",
    "streams/resolvers/__init__.py",
    "streams/resolvers/authority.py",
    "streams/resolvers/decision.py",
    "streams/resolvers/first_update_wins.py",
    "streams/resolvers/forward_only.py",
    "streams/resolvers/keep_siblings.py",
    "streams/resolvers/largest.py",
    "streams/resolvers/last_update_wins.py",
    "streams/resolvers/longest.py",
    "streams/resolvers/size.py",
    "streams/resolvers/smallest.py",
    "streams/resolvers/source_priority.py",
    "streams/resolvers/stock.py",
    "streams/resolvers/sum_of_totals.py",
    "streams/resolvers/trust.py",
    "streams/resolvers/union.py",
    "streams/policy.py",
    "streams/merge.py",
    "streams/masking.py",
    "streams/names.py",
    "streams/conflicts.py",
    "streams/golden.py",
    "streams/entity_codec.py",
    "streams/encoding.py",
    "streams/admission.py",
    "streams/effects.py",
    "streams/held.py",
    "streams/batch.py",
)

BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
temp, lib, *modules = sys.argv[1:]
setup(
    name="syncline-compiled",
    packages=[],
    ext_modules=mypycify(modules, opt_level="3"),
    script_args=["--quiet", "build_ext", "--inplace", "--build-temp", temp, "--build-lib", lib],
)
"""


def extensions() -> list[Path]:
    """Extension modules that an earlier run left in the source tree."""
    inside = [path for package in ("schemas", "streams") for path in (ROOT / package).rglob("*.so")]
    return [*inside, *ROOT.glob("*__mypyc*.so")]


def obstacle() -> str | None:
    """What is missing for compiling here, or None."""
    compiler = os.environ.get("CC", "").split()[:1] or (sysconfig.get_config_var("CC") or "cc").split()[:1]
    if shutil.which(compiler[0]) is None:
        return f"no C compiler ({compiler[0]})"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return None if header.exists() else f"no {header} (on Debian: apt-get install python3-dev)"


def compile_modules(modules: list[str]) -> str | None:
    """Compile them in place; the reason when that fails."""
    build = ROOT / "build" / "mypyc"
    build.mkdir(parents=True, exist_ok=True)
    log = build / "log"
    command = [sys.executable, "-c", BUILD, str(build / "temp"), str(build / "lib"), *modules]
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    return None if done.returncode == 0 else f"mypyc failed with code {done.returncode}, see {log}"


def main() -> int:
    """Returns the exit code: 1 only in CI, where running interpreted would go unnoticed."""
    modules = [module for module in MODULES if (ROOT / module).exists()]
    for path in extensions():  # an extension hides its source: none may outlive a change of that
        path.unlink()
    if not modules:
        return 0
    reason = obstacle() or compile_modules(modules)
    if reason is None:
        for path in extensions():
            path.touch()  # those that needed no rebuilding keep an old date, and would look outdated
        print(f"compiled {len(modules)} modules with mypyc", file=sys.stderr)
        return 0
    print(f"running interpreted, about half as fast: {reason}", file=sys.stderr)
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
