"""The reference job on Quix Streams: a stateful function over a data frame, states in RocksDB with their changelog.

The view is written by the Redis sink that Quix Streams brings, which batches until the next commit.
"""

from __future__ import annotations

import gc
from typing import Any
from urllib.parse import urlsplit

import orjson
from quixstreams import Application, State
from quixstreams.sinks.community.redis import RedisSink

from benchmarks.peers import given
from benchmarks.peers.fold import VIEW_PREFIX, fold, golden, new_state

app = Application(
    broker_address=given.KAFKA,
    consumer_group=given.APP_ID,
    auto_offset_reset="earliest",
    commit_interval=given.COMMIT_SECONDS,
    state_dir=given.DIRECTORY,
    loglevel="WARNING",
    consumer_extra_config={"fetch.message.max.bytes": given.FETCH_BYTES, "fetch.queue.backoff.ms": 50},
    producer_extra_config={"acks": "all", "linger.ms": given.LINGER_MS, "batch.size": given.BATCH_BYTES},
)


def resolve(change: dict[str, Any], states: State) -> bytes | None:
    """The golden record after a change; None after a duplicate. Each key has states of its own."""
    state = states.get("entity") or new_state()
    if not fold(state, change):
        return None
    states.set("entity", state)
    return orjson.dumps(golden(state, change))


def main() -> None:
    """Build the data frame and run it."""
    changes = app.topic(given.CHANGES, key_deserializer="bytes", value_deserializer="json")
    records = app.topic(given.RECORDS, key_serializer="bytes", value_serializer="bytes")
    frame = app.dataframe(changes).apply(resolve, stateful=True).filter(lambda record: record is not None)
    frame.to_topic(records)
    if given.REDIS:
        place = urlsplit(given.REDIS)
        assert place.hostname is not None and place.port is not None
        frame.sink(
            RedisSink(
                place.hostname, place.port, 0, value_serializer=bytes, key_serializer=lambda key, _: VIEW_PREFIX + key
            )
        )
    app.run()


if __name__ == "__main__":
    gc.disable()  # as the loop by hand does: nothing that stays has a cycle
    main()
