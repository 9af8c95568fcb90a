"""A deployment on this machine: embedded servers where none are configured, and a worker as a child process."""

from __future__ import annotations

import shlex
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agents.settings import PREFIX, Settings
from syncline.commands.options import read_targets
from syncline.embedded import LOOPBACK, ServerStartError, free_port, start_broker, start_redis
from syncline.processes import Start, couriers_of, environment_of, run_until_stopped, with_changes
from syncline.terminal import CommandError, say, write_lines

#: The embedded broker answers a first JoinGroup after half of it.
EMBEDDED_SESSION_SECONDS = 6.0


@contextmanager
def servers(settings: Settings) -> Iterator[tuple[Settings, Path]]:
    """Start what is not configured, and give settings that name everything and a directory for logs.

    Says what it started. Raises CommandError when it cannot.
    """
    changed: dict[str, object] = {}
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="syncline-", ignore_cleanup_errors=True))
        )
        try:
            if "kafka" in settings.model_fields_set:
                say(f"broker: {settings.kafka}, as configured")
            else:
                broker = start_broker(directory)
                stack.callback(broker.stop)
                changed |= {"kafka": broker.address}
                if "session_seconds" not in settings.model_fields_set:
                    changed |= {"session_seconds": EMBEDDED_SESSION_SECONDS}
                say(f"broker: none configured (SYNCLINE_KAFKA), started an embedded one on {broker.address}, in memory")
            if settings.redis is not None:
                say("Redis: as configured")
            else:
                redis = start_redis(directory)
                stack.callback(redis.stop)
                changed |= {"redis": redis.url}
                say(f"Redis: none configured (SYNCLINE_REDIS), started an embedded one on {redis.address}, in memory")
        except ServerStartError as error:
            raise CommandError(str(error)) from None
        yield with_changes(settings, changed), directory


def run_in_foreground(settings: Settings) -> int:
    """Run servers and a worker until SIGINT, SIGTERM or the worker's own end; returns the exit code."""
    with servers(settings) as (running, _):
        if "web_port" not in running.model_fields_set and _taken(running.web_port):
            running = with_changes(running, {"web_port": free_port()})
        say("in another shell:")
        write_lines(f"export {name}={shlex.quote(value)}" for name, value in _exports(running).items())
        said: list[bool] = []

        def say_when_ready() -> None:
            if not said and running.web_port and _is_ready(running.web_port):
                said.append(True)
                say(f"ready; metrics on http://{LOOPBACK}:{running.web_port}/metrics; Ctrl-C ends everything")

        couriers = couriers_of(running, list(read_targets(running)), web_port=0)
        return run_until_stopped([Start(running), *couriers], say_when_ready)


def _exports(settings: Settings) -> dict[str, str]:
    shared = ("kafka", "redis", "config", "app_id", "topic_prefix", "partitions")
    return {
        name: value for name, value in environment_of(settings).items() if name.removeprefix(PREFIX).lower() in shared
    }


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
