"""A worker that hears of new partitions within a second, not in five minutes, and never looks at the topics again.

`python -m tests.faults.altered_worker`: what is left then is the refusal of an assignment that parts the topics.
"""

from __future__ import annotations

from agents import topic_watch
from agents.app import build
from agents.settings import load_settings
from agents.worker import run

if __name__ == "__main__":
    topic_watch.LOOK_EVERY_SECONDS = 3600.0
    settings = load_settings()
    app = build(settings)
    app.conf.consumer_metadata_max_age_ms = 1000
    run(app, settings.log_level)
