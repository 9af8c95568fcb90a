"""What applications use: they publish changes, and never load Faust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.live_write import LiveWrite
    from syncline.publisher import Publisher
    from syncline.sync_publisher import SyncPublisher

__all__ = ["LiveWrite", "Publisher", "SyncPublisher"]

_HOMES = {
    "LiveWrite": "schemas.live_write",
    "Publisher": "syncline.publisher",
    "SyncPublisher": "syncline.sync_publisher",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `syncline --help` need not wait for Kafka's client.
    if name not in _HOMES:
        raise AttributeError(f"module syncline has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
