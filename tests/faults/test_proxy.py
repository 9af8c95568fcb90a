"""The proxy that the fault tests break the network with: each mode does what it says."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from syncline.embedded import LOOPBACK
from tests.faults.proxy import Proxy

QUIET_SECONDS = 0.3
PATIENCE_SECONDS = 10.0


class Echo(socketserver.ThreadingTCPServer):
    """Sends back what it gets, counts it, and can say something of its own accord to everyone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), EchoConversation)
        self.received = 0
        self.ends: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class EchoConversation(socketserver.BaseRequestHandler):
    """One connection of the echo server."""

    server: Echo

    def handle(self) -> None:
        self.server.ends.append(self.request)
        try:
            while data := self.request.recv(4096):
                self.server.received += len(data)
                self.request.sendall(data)
        except OSError:
            pass  # it was reset


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A running echo server."""
    with Echo() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """A proxy before the echo server."""
    with Proxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection through the proxy that has proved to work."""
    with connect(proxy) as connection:
        assert ask(connection, b"hello") == b"hello"
        yield connection


def connect(proxy: Proxy) -> socket.socket:
    """A new connection through the proxy."""
    return socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE_SECONDS)


def ask(connection: socket.socket, words: bytes) -> bytes:
    """What comes back for these words."""
    connection.sendall(words)
    return hear(connection, len(words))


def hear(connection: socket.socket, count: int) -> bytes:
    """The next bytes, or fewer if the connection ends before."""
    heard = b""
    while len(heard) < count and (data := connection.recv(count - len(heard))):
        heard += data
    return heard


def silent(connection: socket.socket) -> bool:
    """Whether nothing comes, not even an end, for a while."""
    connection.settimeout(QUIET_SECONDS)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_SECONDS)
    return False


def until(condition: Callable[[], object]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_what_was_just_accepted_is_closed_too(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is ended before the proxy has begun with it does not stay open with nobody behind it."""
    accept = proxy._accept

    def accept_and_cancel(*streams: Any) -> None:
        accept(*streams)
        for connection in proxy._connections:
            connection.cancel()

    proxy.cut()
    monkeypatch.setattr(proxy, "_accept", accept_and_cancel)
    proxy.heal()
    with connect(proxy) as connection:
        assert connection.recv(1) == b""


def test_forwards_both_ways(client: socket.socket) -> None:
    """A healthy proxy carries a megabyte there and back unchanged, and an end that closes closes the other."""
    words = bytes(range(256)) * 4096
    sender = threading.Thread(target=client.sendall, args=(words,))
    sender.start()
    assert hear(client, len(words)) == words
    sender.join()


def test_an_end_is_passed_on(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """When one end closes, the other one is closed too, and the proxy holds no connection any more."""
    echo.ends[0].shutdown(socket.SHUT_RDWR)
    assert hear(client, 1) == b""
    until(lambda: proxy.connections == 0)


def test_delay_holds_up_both_directions(proxy: Proxy, client: socket.socket) -> None:
    """With a delay an answer cannot come before twice that, and order is kept; healed, it still works."""
    proxy.delay(0.2)
    started = time.monotonic()
    for number in range(10):
        client.sendall(b"%d" % number)
    assert hear(client, 10) == b"0123456789"
    assert time.monotonic() - started >= 0.4
    proxy.heal()
    assert ask(client, b"x") == b"x"


def test_cut_closes_and_refuses(proxy: Proxy, client: socket.socket) -> None:
    """Cut ends what is connected and refuses what comes; healed, new connections work."""
    proxy.cut()
    assert hear(client, 1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as again:
        assert ask(again, b"back") == b"back"


def test_half_open_is_a_black_hole(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """Half-open, old and new connections stay, and nothing passes; healed, what was held arrives, in order."""
    proxy.half_open()
    received = echo.received
    with connect(proxy) as fresh:
        client.sendall(b"old")
        fresh.sendall(b"new")
        assert silent(client) and silent(fresh)
        assert echo.received == received
        proxy.heal()
        assert (hear(client, 3), hear(fresh, 3)) == (b"old", b"new")
        assert ask(client, b"on") == b"on"


def test_half_open_hides_an_end(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """Half-open, the death of the target does not become known; healed, it does."""
    proxy.half_open()
    echo.ends[0].shutdown(socket.SHUT_RDWR)
    assert silent(client)
    proxy.heal()
    assert hear(client, 1) == b""


def test_reset_is_abrupt_and_over_at_once(proxy: Proxy, client: socket.socket) -> None:
    """Reset ends every connection by RST, which the client gets as an error, and the next one works."""
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        hear(client, 1)
    with connect(proxy) as again:
        assert ask(again, b"back") == b"back"


def test_drop_upstream_is_one_direction(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    """With upstream dropped the target hears nothing but is heard; healed, it hears what was held."""
    proxy.drop_upstream()
    received = echo.received
    client.sendall(b"question")
    echo.ends[0].sendall(b"news")
    assert hear(client, 4) == b"news"
    assert silent(client) and echo.received == received
    proxy.heal()
    assert hear(client, 8) == b"question"


def test_absent_target_closes(proxy: Proxy, echo: Echo) -> None:
    """When nothing listens behind the proxy, a connection is closed without a word."""
    proxy.target_port = proxy.port + 1 if proxy.port < 65535 else proxy.port - 1
    with connect(proxy) as lonely, suppress(ConnectionResetError):  # as good as an end
        assert hear(lonely, 1) == b""
    proxy.target_port = echo.port
    with connect(proxy) as again:
        assert ask(again, b"back") == b"back"
