"""A web service that takes deliveries, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from syncline.embedded import LOOPBACK
from tests.targets.reader import Reader

Behaviour = Callable[["Service", web.Request, list[dict[str, Any]]], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """requests: what was received, header by header. next: how it behaves at the next requests.

    always: how it behaves at every other request. refuses: tells which messages it does not take.
    """

    reader: Reader = field(default_factory=Reader)
    requests: list[tuple[web.Request, bytes]] = field(default_factory=list)
    next: deque[Behaviour] = field(default_factory=deque)
    always: Behaviour = field(default_factory=lambda: accepting)
    refuses: Callable[[dict[str, Any]], bool] = lambda message: False
    port: int = 0

    @property
    def url(self) -> str:
        """Where it takes deliveries."""
        return f"http://{LOOPBACK}:{self.port}/records"

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        body = await request.read()
        self.requests.append((request, body))
        messages = orjson.loads(body)["deliveries"]
        behaviour = self.next.popleft() if self.next else self.always
        return await behaviour(self, request, messages)

    def take(self, messages: list[dict[str, Any]]) -> None:
        """Keep what it is told."""
        for message in messages:
            self.reader.take(message)


async def accepting(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Take a batch of which nothing is refused; of any other nothing."""
    if any(map(service.refuses, messages)):
        return web.json_response({"title": "Name is taken", "detail": str(messages)}, status=422)
    service.take(messages)
    return web.Response(status=204)


async def one_by_one(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Say of each message what becomes of it."""
    refused = [service.refuses(message) for message in messages]
    service.take([message for message, bad in zip(messages, refused, strict=True) if not bad])
    problem = {"status": 422, "title": "Name is taken", "detail": str(messages)}
    results = [problem if bad else {"status": 200} for bad in refused]
    return web.json_response({"results": results}, status=207)


async def crashing(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Take the batch, and vanish before the answer."""
    service.take(messages)
    return await resetting(service, request, messages)


async def resetting(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Cut the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def silent(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer this, and take nothing. headers: with _ for -."""

    async def answer(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


@asynccontextmanager
async def running_service() -> AsyncIterator[Service]:
    """A service on a port of its own."""
    service = Service()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/records", service.receive)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    service.port = runner.addresses[0][1]
    try:
        yield service
    finally:
        await runner.cleanup()
