"""Pages on Faust's web server, loopback only: metrics for Prometheus, probes for a supervisor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import faust

from agents.metrics import Metrics


class Check(NamedTuple):
    """One line of readiness. needed: False for what is reported but does not make the worker unready."""

    name: str
    ok: bool
    needed: bool
    detail: str


def add_pages(app: faust.App, metrics: Metrics, checks: Callable[[], list[Check]]) -> None:
    """Register /metrics, /livez and /readyz on the app's web server."""

    @app.page("/metrics", name="metrics")
    async def metrics_page(web: Any, request: Any) -> Any:
        metrics.ready.set(_ready(checks()))
        return web.bytes(metrics.text(), content_type="text/plain; version=0.0.4")

    @app.page("/livez", name="livez")
    async def livez(web: Any, request: Any) -> Any:
        # An answer is the proof: this page needs the event loop, and nothing else.
        return web.text("ok\n")

    @app.page("/readyz", name="readyz")
    async def readyz(web: Any, request: Any) -> Any:
        found = checks()
        ready = _ready(found)
        lines = ["ready" if ready else "not ready"]
        if "verbose" in request.query:
            lines += [f"{'ok  ' if check.ok else 'fail'} {check.name}: {check.detail}" for check in found]
        return web.text("\n".join(lines) + "\n", status=200 if ready else 503)


def _ready(checks: list[Check]) -> bool:
    return all(check.ok for check in checks if check.needed)
