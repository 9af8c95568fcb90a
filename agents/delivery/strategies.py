"""Strategies of users: entry points of group `syncline.strategies`, each `make(settings) -> strategy`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from agents.targets.target import TargetUnusable
from schemas.delivery_document import MODES
from schemas.suggestion import suggestion
from streams.sync_modes import Strategy

GROUP: Final = "syncline.strategies"


def entry_point(name: str) -> EntryPoint:
    """What makes the strategy of a name. Raises TargetUnusable: nothing of that name is installed."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise TargetUnusable(f"mode {name!r} is not known; {suggestion(name, {*MODES, *found})}")
    return found[name]


def load_strategy(name: str, settings: Mapping[str, Any]) -> Strategy:
    """The strategy of a name. Raises TargetUnusable: nothing of that name is installed, or it makes no strategy."""
    point = entry_point(name)
    try:
        made = point.load()(settings)
    except Exception as error:  # it is not ours
        raise TargetUnusable(f"mode {name!r}: {point.value} raised {type(error).__name__}: {error}") from error
    if not callable(made):
        raise TargetUnusable(f"mode {name!r}: {point.value} must make a function of what waits and the moment")
    strategy: Strategy = made
    return strategy
