"""PostgreSQL as a test server: a cluster of its own in a directory, trusted logins, no fsync."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from syncline.embedded import START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS, ServerStartError, free_port
from tests.servers.faults import BreakableServer

#: PostgreSQL refuses to run as root; Debian's package makes this account.
ACCOUNT = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_prepared_transactions": "10",
}


def programs() -> Path | None:
    """Directory of PostgreSQL's programs, the newest version's; None where there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("postgres")
    return None if found is None else Path(found).resolve().parent


def available() -> str | None:
    """None when PostgreSQL can run here, else what is missing."""
    return "PostgreSQL's server is not installed" if programs() is None else None


class PostgresServer(BreakableServer):
    """A PostgreSQL that a test may kill, pause and restart on the same port and directory."""

    def __init__(self, directory: Path) -> None:
        bin_directory = programs()
        if bin_directory is None:
            raise ServerStartError("PostgreSQL's server is not installed")
        self._databases = 0
        self._data = directory / "postgres"
        self._data.mkdir(mode=0o700)
        as_account: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self._data, account.pw_uid, account.pw_gid)
            directory.chmod(0o755)
            as_account = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        initdb = [*as_account, bin_directory / "initdb", "-D", self._data, "-A", "trust", "-U", ACCOUNT, "--no-sync"]
        subprocess.run([*initdb, "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True, cwd="/")
        port = free_port()
        settings = {**SETTINGS, "port": str(port), "unix_socket_directories": str(self._data)}
        command = [*as_account, str(bin_directory / "postgres"), "-D", str(self._data)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        super().__init__("PostgreSQL", command, port, directory / "postgres.log")

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start it; returns when it takes sessions, which is later than when it listens."""
        super().start(timeout_seconds)
        bin_directory = programs()
        assert bin_directory is not None, "the server runs, so its programs are there"
        is_ready = [bin_directory / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + timeout_seconds
        while subprocess.run(is_ready, cwd="/").returncode != 0:
            if time.monotonic() > deadline:
                raise ServerStartError(f"PostgreSQL takes no sessions within {timeout_seconds:g} s: see {self.log}")
            time.sleep(0.01)

    def url(self, database: str = "postgres") -> str:
        """`postgresql://` address of one of its databases."""
        return f"postgresql://postgres@{self.address}/{database}"

    def new_database(self) -> str:
        """URL of a database that was just made, empty."""
        self._databases += 1
        name = f"test{self._databases}"
        bin_directory = programs()
        assert bin_directory is not None, "the server runs, so its programs are there"
        createdb = [bin_directory / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name]
        subprocess.run(createdb, check=True, capture_output=True, cwd="/")
        return self.url(name)

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """A fast shutdown: sessions are ended, and not waited for as SIGTERM does."""
        if self.running:
            self.resume()
            os.kill(self.pid, signal.SIGINT)
            deadline = time.monotonic() + timeout_seconds
            while self.running and time.monotonic() < deadline:
                time.sleep(0.01)
        super().stop(timeout_seconds)

    def pause(self) -> None:
        """SIGSTOP for the server and all its sessions' processes."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT for all of them."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        server = psutil.Process(self.pid)
        for process in (server, *server.children(recursive=True)):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
