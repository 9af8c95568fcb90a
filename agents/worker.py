"""Runs the app as a worker."""

from __future__ import annotations

import sys
from typing import NoReturn

from agents.app import build
from agents.lane import LaneApp
from agents.process import SynclineWorker
from agents.settings import Settings


def run(app: LaneApp, log_level: str) -> NoReturn:
    """Run the worker until SIGTERM or SIGINT; ends the process with code 0 after a drain.

    The drain is bounded: what is not stopped within half of rebalance_seconds ends with code 70. Whatever was not
    acknowledged by then is read again by the next owner.
    """
    # stdout is for data; Faust would also send what others print on stderr into its log.
    worker = SynclineWorker(app, loglevel=log_level, redirect_stdouts=False, stdout=sys.stderr)
    worker.execute_from_commandline()


def deliver(settings: Settings, target: str) -> NoReturn:
    """Build the app of a target and run it as a worker."""
    from agents.delivery.app import build as build_delivery

    run(build_delivery(settings, target), settings.log_level)


def main(settings: Settings) -> NoReturn:
    """Build the app from settings and run it as a worker."""
    run(build(settings), settings.log_level)
