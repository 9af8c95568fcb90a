"""The broker that fault tests break, where each adds its row of the report, and how long faults come at random."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import DATABASE_NUMBERS, Deployment
from tests.faults.broker import Broker, running_broker
from tests.faults.report import Report
from tests.faults.reporting import REPORT
from tests.servers.redis import RedisServer

# Taken out of the environment: a worker refuses a SYNCLINE_* name that is no setting of it.
SOAK_SECONDS = float(os.environ.pop("SYNCLINE_SOAK_SECONDS", "180"))
SOAK_SEED = int(os.environ.pop("SYNCLINE_SOAK_SEED", "31"))


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Where each test adds its row."""
    return pytestconfig.stash.setdefault(REPORT, Report())


@pytest.fixture(scope="session")
def started_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that break it: starting one takes as long as some of them do."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(started_broker: Broker) -> Iterator[Broker]:
    """The broker in good health, whatever the test before did to it."""
    yield started_broker
    started_broker.mend()


@pytest.fixture
def breakable(broker: Broker, redis_server: RedisServer) -> Deployment:
    """A deployment on this broker, by the direct way, and on the shared Redis."""
    name = f"f{uuid.uuid4().hex[:10]}"
    return Deployment(broker.direct, redis_server.url(next(DATABASE_NUMBERS)), f"{name}.", name, real_kafka=True)


@pytest.fixture
def soak_seconds() -> float:
    """How long faults come at random: 3 minutes, or SYNCLINE_SOAK_SECONDS."""
    return SOAK_SECONDS


@pytest.fixture
def soak_seed() -> int:
    """What decides which and when: always the same, or SYNCLINE_SOAK_SEED."""
    return SOAK_SEED
