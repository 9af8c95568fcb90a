"""F31: faults of every kind, at random and at the same time; at each point of quiet all must be in its place."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.broker import Broker
from tests.faults.report import Report
from tests.faults.run import FaultRun
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.real_kafka

WORKERS = 2
SESSION_SECONDS = 4.0
#: The end is the last of them.
QUIET_POINTS = 3
#: Longer than a session and than a send may last.
HELD_SECONDS = (SESSION_SECONDS + 1.0, SESSION_SECONDS + 4.0)
#: How long after each other faults of one time begin.
APART_SECONDS = (0.0, 2.0)
BETWEEN_SECONDS = (0.0, 4.0)
PATIENCE_SECONDS = 180.0
SETTINGS = {"session_seconds": SESSION_SECONDS, "send_seconds": 3.0, "batch_records": 50, "recovery_seconds": 60.0}


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be broken, and the chance that says how."""

    run: FaultRun
    broker: Broker
    redis: RedisServer
    chance: random.Random


@contextmanager
def worker_killed(scene: Scene) -> Iterator[None]:
    """kill -9; it is started again at once."""
    scene.run.kill_worker(scene.chance.randrange(WORKERS))
    yield


@contextmanager
def worker_paused(scene: Scene) -> Iterator[None]:
    """SIGSTOP, beyond its session."""
    number = scene.chance.randrange(WORKERS)
    scene.run.pause_worker(number)
    yield
    scene.run.resume_worker(number)


@contextmanager
def broker_killed(scene: Scene) -> Iterator[None]:
    """kill -9."""
    scene.broker.server.kill()
    yield
    scene.broker.server.start()


@contextmanager
def broker_cut_off(scene: Scene) -> Iterator[None]:
    """The workers' connections are closed, and new ones refused."""
    scene.broker.proxy.cut()
    yield
    scene.broker.proxy.heal()


@contextmanager
def broker_silent(scene: Scene) -> Iterator[None]:
    """The workers' connections stay, and nothing passes."""
    scene.broker.proxy.half_open()
    yield
    scene.broker.proxy.heal()


@contextmanager
def broker_slow(scene: Scene) -> Iterator[None]:
    """Each answer to a worker comes late."""
    scene.broker.proxy.delay(scene.chance.uniform(0.1, 0.3))
    yield
    scene.broker.proxy.heal()


@contextmanager
def redis_killed(scene: Scene) -> Iterator[None]:
    """kill -9, and then an empty one."""
    scene.redis.kill()
    yield
    scene.redis.start()


@contextmanager
def redis_paused(scene: Scene) -> Iterator[None]:
    """SIGSTOP."""
    scene.redis.pause()
    yield
    scene.redis.resume()


Fault = Callable[[Scene], AbstractContextManager[None]]
#: Of one line only one at a time.
FAULTS: tuple[tuple[Fault, ...], ...] = (
    (worker_killed, worker_paused),
    (broker_killed, broker_cut_off, broker_silent, broker_slow),
    (redis_killed, redis_paused),
)


def some_faults(scene: Scene) -> None:
    """One to three faults at the same time, from the first one's beginning to the last one's end."""
    chance = scene.chance
    with ExitStack() as held:
        for line in chance.sample(FAULTS, chance.randint(1, len(FAULTS))):
            fault = chance.choice(line)
            print(f"{time.strftime('%X')} {fault.__name__}")
            scene.run.fault()
            held.enter_context(fault(scene))
            time.sleep(chance.uniform(*APART_SECONDS))
        time.sleep(chance.uniform(*HELD_SECONDS))
    print(f"{time.strftime('%X')} all is well")


def test_random_faults(
    broker: Broker,
    breakable: Deployment,
    own_redis: RedisServer,
    soak_seconds: float,
    soak_seed: int,
    tmp_path: Path,
    report: Report,
) -> None:
    """F31: whatever fails, alone or together, for minutes: at each point of quiet nothing is lost or doubled."""
    place = replace(breakable, redis=own_redis.url(0))
    told = broker.proxy.address
    with FaultRun(
        place, tmp_path, seed=soak_seed, changes=None, per_second=100, worker_kafka=told, settings=SETTINGS
    ) as run:
        scene = Scene(run, broker, own_redis, random.Random(soak_seed))
        run.begin(WORKERS)
        for point in range(QUIET_POINTS):
            if point:
                run.publish()
            quiet_at = time.monotonic() + soak_seconds / QUIET_POINTS
            while time.monotonic() < quiet_at:
                some_faults(scene)
                time.sleep(scene.chance.uniform(*BETWEEN_SECONDS))
            run.drain(PATIENCE_SECONDS)
            outcome = run.verify()
            print(outcome)
            assert outcome.wrong == ()
    report.add("F31", f"all of these at random, alone and together, for {soak_seconds:g} s", outcome)
    assert set(run.codes()) <= {-signal.SIGKILL, EX_SOFTWARE}
