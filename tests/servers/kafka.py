"""Apache Kafka itself as a test server: one KRaft node from Maven's jars, RF 1, on loopback ports."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from syncline.embedded import LOOPBACK, ServerStartError, free_port
from tests.servers.faults import BreakableServer

ROOT = Path(__file__).resolve().parents[2]
POM = Path(__file__).with_name("pom.xml")
CACHE = ROOT / ".cache" / "kafka-libs"
CLUSTER_ID = "c3luY2xpbmUtdGVzdHMtMQ"  # any 16 bytes in URL-safe base64
MAVEN_TIMEOUT_SECONDS = 600
KAFKA_START_TIMEOUT_SECONDS = 90.0  # 2 to 4 s, on a machine that is busy with other things much more
KAFKA_STOP_TIMEOUT_SECONDS = 30.0  # a clean stop takes 1 to 3 s

# The first compiler alone: a test's broker lives too short to earn back what the second one costs.
QUICK_START = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LONG_RUN = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC")
LOG_WARNINGS = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # Its own talk (transaction markers) must not take the clients' way, which may lead through a proxy.
    "inter.broker.listener.name": "INTERNAL",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A broker that was killed is let in again only after the session of its former self.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.backoff.ms": "500",
    "log.index.size.max.bytes": "1048576",
}


def available() -> str | None:
    """None when Apache Kafka can run here, else what is missing."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if not missing or (missing == ["mvn"] and _jars_directory().is_dir()):
        return None
    return f"{' and '.join(missing)} not on the PATH"


def jars() -> Path:
    """Directory of Kafka's jars, fetched by Maven once for each state of pom.xml."""
    wanted = _jars_directory()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            _fetch(wanted)
    return wanted


def _jars_directory() -> Path:
    return CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def _fetch(wanted: Path) -> None:
    unfinished = CACHE / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    log = CACHE / "mvn.log"
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={unfinished}", "-DincludeScope=runtime"]
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=MAVEN_TIMEOUT_SECONDS)
    if done.returncode != 0:
        raise ServerStartError(f"mvn could not fetch Kafka (code {done.returncode}): see {log}")
    os.rename(unfinished, wanted)


class KafkaServer(BreakableServer):
    """A broker and controller in one process. Its data stays in `directory` over stop, kill and restart.

    advertised_port: what the broker tells clients to connect to, when a proxy stands before it.
    jvm_options: memory, collector, compiler.
    """

    def __init__(
        self,
        directory: Path,
        advertised_port: int | None = None,
        jvm_options: Sequence[str] = QUICK_START,
    ) -> None:
        self.settings = directory / "server.properties"
        self._data = directory / "data"
        self._advertised_port = advertised_port
        self._internal, self._controller = free_port(), free_port()
        self._classpath = ["-cp", f"{jars()}/*"]
        command = ["java", *jvm_options, LOG_WARNINGS, *self._classpath, "kafka.Kafka", str(self.settings)]
        super().__init__("Apache Kafka", command, free_port(), directory / "kafka.log")
        self._ports = (self.port, self._internal)

    def start(self, timeout_seconds: float = KAFKA_START_TIMEOUT_SECONDS) -> None:
        """Start it, formatting the directory at first; returns when clients are served."""
        if not self.settings.exists():
            self._prepare()
        super().start(timeout_seconds)

    def stop(self, timeout_seconds: float = KAFKA_STOP_TIMEOUT_SECONDS) -> None:
        """A clean stop by SIGTERM (a JVM then ends with code 143)."""
        super().stop(timeout_seconds)

    def _prepare(self) -> None:
        internal, controller = self._internal, self._controller
        settings = SETTINGS | {
            "log.dirs": str(self._data),
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "listeners": f"CLIENT://{LOOPBACK}:{self.port},INTERNAL://{LOOPBACK}:{internal},"
            f"CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"CLIENT://{LOOPBACK}:{self._advertised_port or self.port},"
            f"INTERNAL://{LOOPBACK}:{internal}",
        }
        self.settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        command = ["java", *self._classpath, "kafka.tools.StorageTool", "format"]
        command += ["-t", CLUSTER_ID, "-c", str(self.settings)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            self.settings.unlink()
            raise ServerStartError(f"Kafka could not format {self._data}: {done.stdout.strip()[-300:]}")
