"""What a peer's process is told: where everything is, and the settings that all peers share (`systems.COMMON`).

The standard library alone: Quix Streams reads this in an environment of its own.
"""

import os

APP_ID = os.environ["BENCH_APP_ID"]
KAFKA = os.environ["BENCH_KAFKA"]
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])
CHANGES = os.environ["BENCH_CHANGES"]
RECORDS = os.environ["BENCH_RECORDS"]
CHANGELOG = os.environ["BENCH_CHANGELOG"]
DIRECTORY = os.environ["BENCH_DIRECTORY"]
#: None: no view is written.
REDIS = os.environ.get("BENCH_REDIS")

COMMIT_SECONDS = int(os.environ["BENCH_COMMIT_MS"]) / 1_000
LINGER_MS = int(os.environ["BENCH_LINGER_MS"])
BATCH_BYTES = int(os.environ["BENCH_BATCH_BYTES"])
FETCH_BYTES = int(os.environ["BENCH_FETCH_BYTES"])
POLL_RECORDS = int(os.environ["BENCH_POLL_RECORDS"])
