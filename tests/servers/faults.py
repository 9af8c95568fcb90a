"""What tests do to a server: kill it, freeze it, thaw it, bring it back on the same port and directory."""

from __future__ import annotations

import os
import signal

from syncline.embedded import STOP_TIMEOUT_SECONDS, ServerProcess


class BreakableServer(ServerProcess):
    """A server process with the faults that tests inject. `kill` (SIGKILL) it has from ServerProcess."""

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """SIGTERM, also when it was paused; SIGKILL after the time-out."""
        if self.running:
            self.resume()
        super().stop(timeout_seconds)

    def restart(self) -> None:
        """Stop it if it runs, then start it on the same port and directory."""
        self.stop()
        self.start()
