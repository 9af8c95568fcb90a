"""A worker that stops itself where nothing of its own can notice: `python -m tests.faults.stopping_worker N`.

It has asked the group, has begun to send, and gets SIGSTOP when the N-th request with states is about to be written to
Kafka's socket. Whoever continues the process has it write the request at that moment, however late.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.produce import ProduceRequest

from agents import closed_transports
from agents.names import TopicNames
from agents.settings import load_settings
from agents.worker import main


def arm(times: int, changelog: str) -> None:
    """Wrap the connection; the marks that each partition gets at its assignment are not counted."""
    send, left = closed_transports._SEND, times

    def stopping(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
        nonlocal left
        if isinstance(request, ProduceRequest) and len(request._topics) > 1 and changelog in dict(request._topics):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
        return send(self, request, expect_response)

    closed_transports._SEND = stopping  # type: ignore[misc]


if __name__ == "__main__":
    settings = load_settings()
    arm(int(sys.argv[1]), TopicNames.with_prefix(settings.topic_prefix).changelog)
    main(settings)
