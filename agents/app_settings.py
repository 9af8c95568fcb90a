"""Faust's settings that lose nothing, and none of its extras: the same for every app here."""

from __future__ import annotations

from typing import Any

from agents.process import SynclineWorker
from agents.recovery import LaneTables
from agents.settings import Settings

#: Whole fetches in a queue between the consumer and an agent; each may have thousands of records.
QUEUED_BATCHES = 4
BATCH_BYTES = 512 * 1024
FETCH_BYTES = 4 * 1024 * 1024


def faust_settings(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of a `LaneApp`."""
    return {
        "broker": ";".join(f"kafka://{address.strip()}" for address in settings.kafka.split(",")),
        "store": "memory://",
        "Worker": SynclineWorker,
        "TableManager": LaneTables,
        "autodiscover": False,
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication_factor,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_wait_empty": True,
        "stream_buffer_maxsize": QUEUED_BATCHES,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": FETCH_BYTES,
        "broker_max_poll_records": settings.batch_records,
        "broker_commit_interval": 0.5,
        "broker_session_timeout": settings.session_seconds,
        "broker_heartbeat_interval": min(3.0, settings.session_seconds / 5),
        "broker_rebalance_timeout": settings.rebalance_seconds,
        "broker_max_poll_interval": 120.0,
        # Faust refuses one that is shorter than a session.
        "broker_request_timeout": max(settings.request_seconds, settings.session_seconds + 10.0),
        "producer_acks": -1,
        "producer_linger_ms": 0,  # batches are made here; waiting for more would only add latency
        "producer_max_batch_size": BATCH_BYTES,
        "producer_request_timeout": settings.send_deadline_seconds,
        "web_enabled": settings.web_port != 0,
        "web_port": settings.web_port or 6066,
        "web_bind": "127.0.0.1",
        "web_host": "127.0.0.1",
        "web_tables_enabled": False,  # it shows any state to anyone
        "web_router_enabled": False,
        "web_graph_enabled": False,
        "web_stats_enabled": True,
    }
