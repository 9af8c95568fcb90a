"""A broker that tests break, and the proxy on the way to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from syncline.embedded import free_port
from tests.faults.proxy import Proxy
from tests.servers.kafka import KafkaServer


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker with two ways to it: `direct` (host:port), and through the proxy."""

    server: KafkaServer
    direct: str
    proxy: Proxy

    def mend(self) -> None:
        """Bring it and the way to it to good health, whatever was done to them."""
        self.proxy.heal()
        if not self.server.running:
            self.server.start()
        self.server.resume()


@contextmanager
def running_broker(directory: Path) -> Iterator[Broker]:
    """A broker of its own in this directory."""
    port = free_port()
    server = KafkaServer(directory, advertised_port=port)
    server.start()
    # To those who ask it on this listener it advertises the same, to all others the proxy.
    direct = re.search(r"^advertised\.listeners=.*INTERNAL://(\S+)$", server.settings.read_text(), re.MULTILINE)
    assert direct is not None
    with Proxy(server.port, port) as proxy:
        yield Broker(server, direct[1], proxy)
    server.kill()
