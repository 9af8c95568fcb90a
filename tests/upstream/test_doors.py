"""What Faust and the decoders let in by themselves, which is why each of these doors is shut."""

from __future__ import annotations

import inspect
import io
import json
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import fastavro
import faust
import mode.worker
import orjson

from schemas.avro_binary import encode_long
from tests.upstream.canary import canary, flowing_app, message, new_app, stream_of

MILLION = 1_000_000


async def test_the_web_server_shows_tables_to_anyone() -> None:
    """By default it listens on every address, asks nobody who he is, and has a page for any key of any table.

    Worked around in agents/app.py: loopback, and the pages of tables are off.
    """
    app = new_app()
    app.web.init_server()
    with canary("agents/app.py"):
        assert (app.conf.web_enabled, app.conf.web_bind) == (True, "0.0.0.0")
        routes = {route.resource.canonical for route in app.web.web_app.router.routes() if route.resource}
        assert any("/table/" in route for route in routes)
        assert list(app.web.web_app.middlewares) == []


def test_pickle_is_a_codec() -> None:
    """A setting or a model can name a codec that runs what a payload says.

    Worked around in agents/process.py: remove_pickle.
    """
    # In a process of its own: here it may be gone already.
    program = "from faust.serializers import codecs; print('pickle' in codecs.codecs)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    with canary("agents/process.py"):
        assert done.stdout.strip() == "True"


class Debugged(mode.worker.Worker):
    """A worker that takes note when a debugger would open."""

    debugged = False

    def _enter_debugger(self) -> None:
        self.debugged = True


def test_a_signal_opens_a_debugger() -> None:
    """SIGUSR2 gives a prompt inside the worker.

    Worked around in agents/process.py: SynclineWorker._on_sigusr2.
    """
    worker = Debugged()
    worker._on_sigusr2()
    with canary("agents/process.py"):
        assert worker.debugged
        assert "add_signal_handler(signal.SIGUSR2, self._on_sigusr2)" in inspect.getsource(mode.worker.Worker)


class Listening(faust.App):
    """An app that writes down where it is asked to send."""

    async def send(self, channel: Any, *_: Any, **__: Any) -> Any:
        self.sent_to = channel


async def test_what_an_agent_yields_is_sent_where_a_header_says() -> None:
    """Any producer names the topic that gets what an agent yields for its message.

    Worked around in agents/resolve.py and agents/commands.py: they yield nothing, and the lane hands on no headers.
    """
    app = flowing_app(Listening)
    headers = [("Faust-Ag-ReplyTo", b"secret-topic"), ("Faust-Ag-CorrelationId", b"1")]
    stream = await stream_of(app, message(0, headers=headers))

    async def answers() -> Any:
        async for value in stream:
            yield value
            return

    agent = app.agent(app.topic("t"), name="answers")(answers)
    with canary("agents/resolve.py", "agents/commands.py", "agents/lane.py"):
        await agent._slurp(SimpleNamespace(stream=SimpleNamespace(get_active_stream=lambda: stream)), answers())
        assert app.sent_to == "secret-topic"


def test_topics_that_exist_are_not_looked_at() -> None:
    """Faust skips the creation of a topic that is there, whatever its partitions and clean-up are.

    Worked around in agents/topics.py: every topic is verified before a worker starts.
    """
    source = inspect.getsource(faust.transport.drivers.aiokafka.Transport._really_create_topic)  # type: ignore[attr-defined]
    with canary("agents/topics.py"):
        assert "if topic in client.cluster.topics():" in source


def test_fastavro_believes_a_count() -> None:
    """Four bytes make it build a list of a million nulls.

    Worked around in schemas/avro_scan.py: no schema with items of no bytes, and a count must fit in what is left.
    """
    nulls = fastavro.parse_schema({"type": "array", "items": "null"})
    data = encode_long(MILLION) + encode_long(0)
    with canary("schemas/avro_scan.py"):
        assert len(data) == 4
        built: Any = fastavro.schemaless_reader(io.BytesIO(data), nulls, None)
        assert len(built) == MILLION


DEEP = """
import io, resource, fastavro
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
schema = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
fastavro.schemaless_reader(io.BytesIO(bytes([2]) * 200_000 + bytes([0])), schema, None)
"""


def test_fastavro_dies_of_a_deep_record() -> None:
    """Records in each other overflow the stack of C: a segmentation fault, and no exception.

    Worked around in schemas/avro_scan.py: no schema that refers to itself.
    """
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True)
    with canary("schemas/avro_scan.py"):
        assert done.returncode == -signal.SIGSEGV


def test_parsers_of_json_let_things_pass() -> None:
    """A key twice, NaN, and integers that do not fit: each parser is silent about some of them.

    Worked around in schemas/strict_json.py: what orjson does not give back as it was is parsed by strict rules.
    """
    with canary("schemas/strict_json.py"):
        assert orjson.loads('{"a":1,"a":2}') == json.loads('{"a":1,"a":2}') == {"a": 2}
        assert orjson.loads("18446744073709551616") == 2.0**64
        assert json.loads("[NaN, Infinity]")[1] == float("inf")
        assert json.loads('"\\ud800"') == "\ud800"
