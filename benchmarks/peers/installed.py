"""What peers need that is not in our own environment, made below .cache/ when first asked for, with exact versions."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "peers"
REQUIREMENTS: Final = Path(__file__).with_name("quix") / "requirements.txt"
KAFKA_STREAMS: Final = Path(__file__).with_name("kafka_streams")
TIMEOUT_SECONDS: Final = 900


class NotInstalled(Exception):
    """A peer cannot be run here; the message says what is missing."""


def quix_python() -> Path:
    """Python of a virtual environment with what requirements.txt names. Raises NotInstalled."""

    def make(place: Path) -> None:
        _run([sys.executable, "-m", "venv", str(place)])
        _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)])

    return _made("quix", [REQUIREMENTS], make) / "bin" / "python"


def kafka_streams_classpath() -> str:
    """Our classes and all jars, compiled and fetched by Maven. Raises NotInstalled."""

    def make(place: Path) -> None:
        goals = ["compiler:compile", "dependency:copy-dependencies"]
        options = [f"-Dbuilt={place}", f"-DoutputDirectory={place}/jars", "-DincludeScope=runtime"]
        _run(["mvn", "-q", "-B", "-f", str(KAFKA_STREAMS / "pom.xml"), *goals, *options])

    place = _made("kafka_streams", sorted(path for path in KAFKA_STREAMS.rglob("*") if path.is_file()), make)
    return f"{place}/classes:{place}/jars/*"


def quix_versions() -> Mapping[str, str]:
    """Those that matter, by package. Raises NotInstalled."""
    quix_python()
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    return {name: pins[name] for name in ("quixstreams", "confluent-kafka", "rocksdict", "orjson", "redis", "hiredis")}


def kafka_streams_versions() -> Mapping[str, str]:
    """Those that matter, by jar, and of the Java that runs them. Raises NotInstalled."""
    jars = Path(kafka_streams_classpath().partition(":")[2]).parent
    names = [jar.stem.rpartition("-") for jar in jars.glob("*.jar")]
    found = {name: version for name, _, version in names}
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.split('"')[1]
    wanted = ("kafka-streams", "jackson-databind", "jackson-module-blackbird", "jedis")
    return {name: found[name] for name in wanted} | {"Java": java}


def _made(name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """The directory that `make` fills, once for each state of its sources."""
    state = hashlib.sha256(sys.version.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    place = CACHE / f"{name}-{state}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A virtual environment cannot be moved, so it is made where it stays, and marked when it is whole.
        if not (place / "whole").exists():
            print(f"making {place.relative_to(ROOT)}", file=sys.stderr, flush=True)
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            (place / "whole").touch()
    return place


def _run(command: Sequence[str]) -> None:
    if shutil.which(command[0]) is None:
        raise NotInstalled(f"{command[0]} is not on the PATH")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stdout[-2_000:]}")
